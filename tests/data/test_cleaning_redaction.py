"""Redaction: what must go, what must stay, and how much of it is counted."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.data.cleaning import Redactor

WORDS = st.text("ab 圆,;()\n", max_size=8)


def redacted(text: str) -> str:
    return Redactor()(text)


@pytest.mark.parametrize(
    "text",
    [
        "ada.lovelace+x@mail.example.co.uk",
        "A_B%c@10.0.0.1",
        "x@sub-domain.example",
    ],
)
@pytest.mark.parametrize("frame", ["{}", "请写信给{}谢谢", "<{}>, or", "mailto:{}.", "'{}'"])
def test_email(text, frame):
    assert redacted(frame.format(text)) == frame.format("<EMAIL>")


@pytest.mark.parametrize("text", ["@handle", "a@b", "3 @ 4.5", "user@", "a@.com", "@@@."])
def test_what_is_no_email_address_stays(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "192.168.0.1",
        "255.255.255.255",
        "2001:db8::ff00:42:8329",
        "2001:0DB8:0000:0000:0000:ff00:0042:8329",
        "::1",
        "fe80::",
        "1::",
        "::ffff:192.0.2.128",
        "64:ff9b::192.0.2.33",
    ],
)
@pytest.mark.parametrize(
    "frame", ["{}", "服务器{}：", "at {}.", "({}), and", "[{}]:80", "IP: {}\n"]
)
def test_ip(text, frame):
    assert redacted(frame.format(text)) == frame.format("<IP>")


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "v1.2.3.4",
        "12:30:45",
        "a::b",
        "std::vector",
        "::",
        "x :: y",
        "00:1a:2b:3c:4d:5e",
        "add::bed",
        "1:2:3:4:5:6:7",
        "3:16",
        "1.1.1.1a",
    ],
)
def test_what_is_no_ip_address_stays(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "2223 0031 2200 3222",
        "340000000000009",
        "3400 000000 00009",
        "30000000000004",
        "6011 0000 0000 0004",
        "6221260000000000001",
        "4222222222222",
        "４１１１　１１１１　１１１１　１１１１".replace("　", " "),
    ],
)
@pytest.mark.parametrize("frame", ["{}", "卡号{}。", "Card: {}, 12/27", "1234 {} 5"])
def test_card(text, frame):
    assert redacted(frame.format(text)) == frame.format("<CARD>")


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "1700000000000",
        "0" * 16,
        "41111111111111111111",
        "4111-1111 1111-1111",
        "3.14159265358979",
        "9780306406157",
    ],
)
def test_what_is_no_card_number_stays(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "+44 20 7946 0958",
        "+1 (555) 123-4567",
        "+86 138 0013 8000",
        "+8613800138000",
        "+49 (0)30/123456",
        "(555) 123-4567",
        "555-123-4567",
        "555.123.4567",
        "1-800-555-0199",
        "13800138000",
        "138-0013-8000",
        "010-12345678",
        "(010) 12345678",
        "0571-8765 4321",
        "020 7946 0958",
        "07700 900123",
        "01 23 45 67 89",
        "03-1234-5678",
    ],
)
@pytest.mark.parametrize(
    "frame", ["{}", "电话：{}。", "Call {}, please", "Tel {} or 2 of us", "tel:{}\n"]
)
def test_phone(text, frame):
    assert redacted(frame.format(text)) == frame.format("<PHONE>")


@pytest.mark.parametrize(
    "text",
    [
        *("2020-01-15", "01.02.2020 12:30", "15/01/2020", "1990-2000", "10-20-30", "911", "+5 %"),
        *("978-0-306-40615-7", "3.14159265358979", "20230115123456", "100 000 000", "1,234,567"),
        *("5551234567", "12345678901234", "A1B2-555-123-4567x", "1.138.0013.8000.5", "2 + 2 = 4"),
    ],
)
def test_what_is_no_phone_number_stays(text):
    assert redacted(text) == text


def test_counts_add_up():
    redactor = Redactor()
    text = "a@b.cc, a@b.cc 10.0.0.1 ::1 4111111111111111 +44 20 7946 0958"
    assert redactor(text) == "<EMAIL>, <EMAIL> <IP> <IP> <CARD> <PHONE>"
    assert redactor(redactor("c@d.ee")) == "<EMAIL>"
    assert redactor.counts == {"email": 3, "ip": 2, "card": 1, "phone": 1}


def with_check_digit(digits: str) -> str:
    """A number with its check digit: every second digit from the right is doubled."""
    doubled = "".join(str(int(digit) * 2) for digit in digits[-1::-2])
    return digits + str(-sum(map(int, doubled + digits[-2::-2])) % 10)


SECRETS = st.one_of(
    st.emails().filter(lambda e: e.isascii() and e.replace("@", "").replace(".", "").isalnum()),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str).filter(lambda text: any(c.isdecimal() for c in text)),
    st.from_regex(r"4[0-9]{14}", fullmatch=True).map(with_check_digit),
    st.from_regex(r"\+[1-9][0-9]{9,13}", fullmatch=True),
)


@given(WORDS, SECRETS, WORDS)
def test_no_secret_is_left(before, secret, after):
    redactor = Redactor()
    text = redactor(f"{before} {secret} {after}")
    assert secret not in text
    assert redactor.counts.total() >= 1
    assert text.startswith(f"{before} <")
    assert redactor(text) == text


@given(st.text("0123456789.-+() :@af", max_size=60))
def test_a_second_time_changes_nothing(text):
    once = redacted(text)
    assert redacted(once) == once


@given(st.ip_addresses(v=6))
def test_every_way_to_write_an_ipv6_address(address: ipaddress.IPv6Address):
    assert redacted(address.exploded) == "<IP>"
    assert redacted(address.exploded.upper()) == "<IP>"
