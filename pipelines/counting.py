"""How many there are of something, in words."""


def counted(number: int, one: str, many: str = "") -> str:
    """`1 image`, `2,000 images`; a noun whose plural takes more than an s comes with it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
