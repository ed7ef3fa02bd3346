"""Licences by one name each, however a list spells them, and whether they let weights be sold."""

import re

_FREE = frozenset({"CC0", "CC BY", "CC BY-SA", "public domain", "MIT", "BSD", "Apache", "ISC", "Unlicense", "own"})
"""Those that allow commercial use. ``own`` is for what you recorded yourself."""

_CLAUSES = (("NC", r"\bnc\b|non ?commercial"), ("ND", r"\bnd\b|no ?deriv"), ("SA", r"\bsa\b|share ?alike"))
_PLAIN = {"mit": "MIT", "bsd": "BSD", "apache": "Apache", "isc": "ISC", "unlicense": "Unlicense", "own": "own"}


def normalised(text: str) -> str:
    """Family and version, such as ``CC BY-NC 3.0``; what is not known stays as it is, nothing becomes ``unknown``."""
    words = re.sub(r"[-_/]+", " ", text.lower()).strip()
    family = _family(words)
    if family is None:
        return text.strip() if words else "unknown"
    version = re.search(r"\b(\d\.\d)\b", words) if family.startswith("CC BY") or family == "Apache" else None
    return f"{family} {version[1]}" if version else family


def allows_sale(name: str) -> bool | None:
    """Whether a licence by its normalised name allows commercial use; None where that is not known."""
    family = re.sub(r" \d\.\d$", "", name)
    if family in _FREE:
        return True
    return False if "NC" in family else None


def _family(words: str) -> str | None:
    if re.search(r"\bcc ?0\b|\bzero\b|creative commons 0", words):
        return "CC0"
    if re.search(r"\bpd\b|public ?domain", words):
        return "public domain"
    if re.search(r"\bsampling\b", words):
        return "CC Sampling+"
    if re.search(r"\bby\b|attribution", words):
        clauses = [clause for clause, pattern in _CLAUSES if re.search(pattern, words)]
        return "-".join(["CC BY", *clauses])
    return next((name for word, name in _PLAIN.items() if words.split()[:1] == [word]), None)
