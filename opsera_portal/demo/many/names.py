"""Names that are hard to show: long ones, without a space to break at, right to left, with joiners, and with symbols.

Each of them is a name that the portal accepts.
"""

from collections.abc import Iterable, Iterator

from tokens.names import name_key, numbered

ARABIC = "نورة بنت عبد الرحمن الأنصاري"
HEBREW = "שירה בן־דוד"
# With zero-width non-joiners, which Persian needs between some letters.
PERSIAN = "علی\u200cرضا نیک\u200cنام"
CHINESE = "欧阳娜娜"
THAI = "ศิริพร วงศ์สุวรรณ"
HINDI = "अनुष्\u200dका क्षत्रिय"
EMOJI = "Robin 👩‍💻 Fox 🦊"
# Part of the text runs from left to right, part from right to left, and it has digits and brackets.
BOTH_DIRECTIONS = "Release 2.0 (إصدار 3) – גרסה 4"
MARKUP = "<b>Bold</b> & \"quoted\" 'text' {{ name }} %s"

PEOPLE = (
    ARABIC,
    HEBREW,
    PERSIAN,
    CHINESE,
    THAI,
    HINDI,
    EMOJI,
    BOTH_DIRECTIONS,
    MARKUP,
    "Ángel Ñuñez-Öztürk",
    "Nguyễn Thị Minh Khai",
    "Владислава Ярославна Рождественская",
    "Γεώργιος Παπαδόπουλος",
    "მარიამ ჯავახიშვილი",
    "김수한무",
    "தமிழ்ச்செல்வி இராமசாமி",
    "Q",
    "O'Neill, Seán (Dublin office)",
    "W" * 60,
)
_FIRST = ("Amara", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hiro", "Ingrid", "João", "Kwame", "Łucja")
_LAST = ("Abebe", "Brandt", "Castillo", "Dąbrowski", "Eriksen", "Fontaine", "Gupta", "Horvat", "Ito", "Jansen", "Kim")

# At most 50 characters, and fewer kinds of them than other names.
TOKENS = (
    "Nightly build of the integration branch on runners",
    "continuous-integration-and-deployment-of-portals.1",
    "مفتاح النشر الليلي",
    "אסימון לפריסה",
    "کلید می\u200cسازم",
    "每日构建令牌",
    "โทเค็นสำหรับทดสอบ",
    "रात का निर्माण",
    "Ключ для ночной сборки",
    "Jenkins",
    "x",
    "v1.2.3:build_server-07",
)

GROUPS = (
    "Platform reliability and developer experience team",
    "platform-reliability-and-developer-experience-team",
    "فريق المنصّة",
    "צוות תשתיות",
    "گروه برنامه\u200cنویسان",
    "基础设施与发布工程组",
    "ทีมพัฒนาแพลตฟอร์ม",
    "On call 🚨🌙",
    MARKUP,
    "A",
)

PIPELINES = (
    "خط أنابيب النشر إلى الإنتاج",
    "צינור פריסה לייצור",
    "خط لولهٔ ساخت و آزمون که می\u200cسازد",
    "生产环境发布流水线（含人工审批）",
    "ไปป์ไลน์สำหรับปล่อยเวอร์ชันใหม่",
    "🚀 Ship it 🚢",
    BOTH_DIRECTIONS,
    MARKUP,
    "Сборка и проверка основной ветки",
    "Z",
)

TAGS = ("nightly", "إنتاج", "ייצור", "生产", "ทดสอบ", "🚀", "linux", "needs-review")


def filled(start: str, length: int) -> str:
    """``start``, repeated to this length. Without a space, if ``start`` has none."""
    return (start * (length // len(start) + 1))[:length].strip().ljust(length, "x")


def of_people(number: int) -> Iterator[str]:
    """That many names: first the hard ones, then ordinary ones."""
    yield from PEOPLE[:number]
    for n in range(number - len(PEOPLE)):
        yield f"{_FIRST[n % len(_FIRST)]} {_LAST[n % len(_LAST)]}"


def unused(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """The names, with a number at the end where one is in use already."""
    keys = set(map(name_key, taken))
    found = []
    for name in names:
        free = next(candidate for candidate in numbered(name) if name_key(candidate) not in keys)
        keys.add(name_key(free))
        found.append(free)
    return found
