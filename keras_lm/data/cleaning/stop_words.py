"""Stop words: the words that stand in every text and say little about it."""

from __future__ import annotations

import re

# Words of negation (not, no, never, 不, 没) are in no list: they turn the meaning round.
_ENGLISH_WORDS = """
a an the i me my mine myself we us our ours ourselves you your yours yourself yourselves he him
his himself she her hers herself it its itself they them their theirs themselves one's this that
these those who whom whose which what there here am is are was were be been being do does did
doing have has had having will would shall should can could may might must i'm you're he's she's
it's we're they're i've you've we've they've i'd you'd he'd she'd we'd they'd i'll you'll he'll
she'll it'll we'll they'll that's there's here's what's who's let's and or but if because as until
while although though unless since than so whether of at by for with about against between into
through during before after above below to from up down in out on off over under upon within along
across behind beyond among toward towards again further then once when where why how all any both
each few more most other some such only own same too very just also even ever yet still already
quite rather
"""
_CHINESE_WORDS = """
的 了 着 之 吗 嗎 呢 吧 啊 呀 嘛 哦 啦 我 你 您 他 她 它 这 這 那 是 在 被 把 和 与 與 及 或 而 且
但 也 都 就 又 很 于 於 我们 你们 您们 他们 她们 它们 咱们 自己 大家 我們 你們 您們 他們 她們 它們
咱們 这个 那个 这些 那些 这里 那里 这样 那样 这么 那么 这种 那种 這個 那個 這些 這裡 那裡 這樣
那樣 這麼 那麼 這種 那種 什么 怎么 怎样 哪里 哪些 如何 什麼 怎麼 怎樣 哪裡 以及 或者 而且 并且
但是 可是 然而 不过 因为 由于 所以 因此 因而 于是 如果 要是 假如 虽然 尽管 並且 不過 因為 由於
於是 雖然 儘管 即使 只要 只有 无论 無論 除了 为了 為了 关于 對於 对于 關於 就是 还是 還是 只是
也是 都是 而是 正在 已经 已經 曾经 曾經 其中 其他 其它 之一 等等
"""
# Chinese has no spaces, so that 的 would be taken out of 目的 as well. These words hold a stop word
# and are none: the longest match, of them and the stop words, decides.
_CHINESE_WORDS_KEPT = """
目的 的确 的士 标的 的確 有的放矢 了解 了不起 了结 了却 了然 明了 终了 末了 罢了 不得了 了結 着急
着手 着重 着想 着陆 着眼 着装 着火 着迷 着落 沉着 执着 附着 衣着 穿着 着凉 着色 目的地 之前 之后
之间 之外 之内 百分之 反之 总之 之後 之間 之內 總之 自我 其他人 吉他 他人 你好 是非 是否 总是 凡是
總是 实事求是 是不是 存在 现在 内在 潜在 实在 外在 所在 自在 好在 在线 在场 在职 在乎 在意
在于 在座 在位 健在 在校 現在 內在 潛在 實在 在場 在職 在線 在於 无处不在 所在地 被子 被告 棉被
植被 被动 被单 被動 被套 把握 把手 把关 把柄 火把 把戏 把握住 从而 從而 属于 等于 终于 位于 至于
用于 善于 处于 大于 小于 高于 低于 鉴于 基于 过于 便于 忠于 勇于 富于 屬於 等於 終於 位於 至於
用於 善於 處於 大於 小於 高於 低於 基於 過於 和平 和谐 和解 和睦 和尚 和气 和蔼 温和 缓和 总和
饱和 共和 共和国 调和 柔和 暖和 平和 中和 和善 附和 随和 和约 求和 和声 和弦 和服 和田 祥和 谦和
和諧 和氣 溫和 緩和 總和 飽和 共和國 調和 昭和 雍和宫 与会 参与 给与 赠与 授与 与否 与众不同
与时俱进 參與 給與 與會 及时 及格 普及 涉及 埃及 及早 波及 危及 顾及 提及 触及 遍及 来不及 来得及
及時 觸及 顧及 來不及 或许 或許 进而 反而 而已 進而 況且 况且 且慢 尚且 暂且 不但 非但 但愿 但願
若是 也许 也許 首都 都市 成都 京都 都城 古都 国都 都会 大都会 國都 都會 就业 就职 就餐 就读 就诊
就医 就任 成就 就绪 就近 造就 将就 迁就 就座 就業 就職 就讀 就醫 就緒 很多 再也 也门 但丁 我国
我國 您好 与其 與其 把持 一把 被迫 就算 成都市 都江堰 和田玉 吧台 酒吧 网吧 着实 着力
着陆点 之类 之所以
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_CHINESE = frozenset(_CHINESE_WORDS.split())

# A word may hold apostrophes and hyphens, so that neither "to-do" nor "don't" is taken apart.
_WORD = re.compile(r"\w(?:[\w'’-]*\w)?[ \t]*")


def _one_of(words: frozenset[str]) -> re.Pattern[str]:
    """Matches the longest of the words; one look at the first character finds the candidates."""
    ends: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        ends.setdefault(word[0], []).append(word[1:])
    return re.compile("|".join(f"{first}(?:{'|'.join(rest)})" for first, rest in ends.items()))


_CHINESE_WORD = _one_of(_CHINESE.union(_CHINESE_WORDS_KEPT.split()))


def remove_stop_words(text: str, language: str = "en") -> str:
    """The text without stop words, English or Chinese; words of negation stay.

    English stop words go with the spaces after them, in any case of letters. Chinese ones are
    found without a segmenter, by the longest match in a short list of stop words and of common
    words that hold one, so that 的 goes and 目的 stays; a rarer word may lose a character. Both
    simplified and traditional characters are known.

    Args:
        text: any text.
        language: `"en"` (default) or `"zh"`.

    Raises:
        ValueError: `language` is neither.

    Example:

    >>> remove_stop_words("It's the end of the world, and I don't mind.")
    "end world, don't mind."
    >>> remove_stop_words("我们的目的是了解和平的过程", language="zh")
    '目的了解和平过程'
    """
    if language == "zh":
        return _CHINESE_WORD.sub(lambda word: "" if word[0] in _CHINESE else word[0], text)
    if language != "en":
        raise ValueError(f"language is {language!r}; it must be 'en' or 'zh'")
    kept = _WORD.sub(lambda word: "" if _is_english_stop_word(word[0]) else word[0], text)
    return text if kept == text else kept.rstrip(" \t")


def _is_english_stop_word(word: str) -> bool:
    return word.rstrip(" \t").replace("’", "'").lower() in _ENGLISH
