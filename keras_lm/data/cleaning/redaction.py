"""Redaction of what points to a person: e-mail addresses, phone and card numbers, IP addresses."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable

# Every pattern takes time linear in the text, whatever the text: a match is bounded in length, or
# possessive and begins only where a run of its characters begins.
_EMAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++")

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}(?![A-Za-z0-9_])(?!\.[0-9])"
_HEX = "[0-9A-Fa-f]"
_IP = re.compile(
    rf"""(?<![A-Za-z0-9_])(?:
      (?<!{_HEX}:)(?:(?:{_HEX}{{0,4}}:){{2,7}}(?:{_IPV4}|{_HEX}{{1,4}})|(?:{_HEX}{{1,4}}:){{1,7}}:)
      (?![A-Za-z0-9_])(?!:[0-9A-Fa-f:])
    | (?<![0-9]\.){_IPV4})""",
    re.VERBOSE,
)

_DASH = r"\u2010-\u2013-"
_CARD = re.compile(
    rf"""(?<!\d)(?:
      \d{{13,19}}
    | \d{{4}}(?P<gap>[ \u00a0{_DASH}])\d{{4}}(?P=gap)\d{{4}}(?P=gap)\d{{4}}(?:(?P=gap)\d{{3}})?
    | \d{{4}}(?P<wide>[ \u00a0{_DASH}])\d{{6}}(?P=wide)\d{{4,5}}
    )(?!\d)""",
    re.VERBOSE,
)
_GAP = rf"[ \u00a0./{_DASH}]"
_PHONE = re.compile(
    rf"""(?<![A-Za-z0-9_])(?:
      \+\d(?:[()\u00a0 ./{_DASH}]{{0,2}}\d){{7,14}}(?![A-Za-z0-9_])           # +44 (20) 7946 0958
    | (?<!\d[./{_DASH}])(?:
        1[3-9]\d{_GAP}?\d{{4}}{_GAP}?\d{{4}}                                  # 138 0013 8000
      | (?:1{_GAP})?(?:\(\d{{3}}\){_GAP}?|\d{{3}}{_GAP})\d{{3}}{_GAP}\d{{4}}  # (555) 123-4567
      | (?:\(0\d{{1,4}}\){_GAP}?|0\d{{1,4}}{_GAP})\d{{3,4}}{_GAP}?\d{{3,4}}   # 010-12345678
      | 0\d(?:{_GAP}\d\d){{4}}                                                # 01 23 45 67 89
      )(?![A-Za-z0-9_])(?![./{_DASH}]\d)
    )""",
    re.VERBOSE,
)


class Redactor:
    """Puts a placeholder where a text has an address or a number of a person, and counts them.

    - `<EMAIL>`: e-mail addresses in ASCII.
    - `<IP>`: IPv4 addresses (also version numbers of four parts), and IPv6 addresses with a digit.
    - `<CARD>`: 13 to 19 digits, in one piece or in the groups that are printed on cards, which
      begin as the payment networks' do (3 to 6, or 2221 to 2720) and whose check digit (Luhn,
      ISO/IEC 7812) is right.
    - `<PHONE>`: international numbers with a plus sign; numbers of North America in their three
      groups; of China, mobile ones also in one piece; numbers that begin with 0, in groups. Other
      digits in one piece stay, since most of them are no phone numbers.

    It is a step of `clean`, too.

    Attributes:
        counts: how many of each kind were redacted so far, a `Counter` with the keys "email",
            "ip", "card" and "phone".

    Example:

    >>> redactor = Redactor()
    >>> redactor("Write to ada@example.org or call +44 20 7946 0958.")
    'Write to <EMAIL> or call <PHONE>.'
    >>> redactor("4111 1111 1111 1111 from 192.168.0.1, not 4111 1111 1111 1112")
    '<CARD> from <IP>, not 4111 1111 1111 1112'
    >>> dict(redactor.counts)
    {'email': 1, 'phone': 1, 'ip': 1, 'card': 1}
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, text: str) -> str:
        # In this order: user@10.0.0.1 is an e-mail address, and a card number holds phone numbers.
        text = self._replaced(text, "email", _EMAIL, lambda _: True)
        text = self._replaced(text, "ip", _IP, _is_ip)
        text = self._replaced(text, "card", _CARD, _is_card)
        return self._replaced(text, "phone", _PHONE, lambda _: True)

    def _replaced(
        self, text: str, kind: str, pattern: re.Pattern[str], accepts: Callable[[str], bool]
    ) -> str:
        parts = []
        start = position = 0
        while match := pattern.search(text, position):
            if accepts(match[0]):
                parts += [text[start : match.start()], f"<{kind.upper()}>"]
                start = position = match.end()
                self.counts[kind] += 1
            else:
                # A card number may begin within what looked like one: 1234 4111 1111 1111 1111.
                position = match.start() + 1
        return "".join([*parts, text[start:]])


def _is_ip(text: str) -> bool:
    if ":" not in text:
        return True  # the pattern allows only what is one; leading zeros count as well
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return any("0" <= character <= "9" for character in text)  # add::bed is C++


def _is_card(text: str) -> bool:
    digits = [int(character) for character in text if character.isdecimal()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    network = int("".join(map(str, digits[:4])))
    is_known = 3000 <= network < 7000 or 2221 <= network <= 2720
    return is_known and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
