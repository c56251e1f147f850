"""Two-letter language codes, which the rest of the project uses, for the codes of other sources."""

from __future__ import annotations

import re

import pyarrow as pa

from twhin_hf.errors import InputError
from twhin_hf.path_names import path_name

# ISO 639-2/T and 639-3 to ISO 639-1, whole.
_ISO_639_1 = """
    aar:aa abk:ab afr:af aka:ak amh:am ara:ar arg:an asm:as ava:av ave:ae aym:ay aze:az bak:ba
    bam:bm bel:be ben:bn bis:bi bod:bo bos:bs bre:br bul:bg cat:ca ces:cs cha:ch che:ce chu:cu
    chv:cv cor:kw cos:co cre:cr cym:cy dan:da deu:de div:dv dzo:dz ell:el eng:en epo:eo est:et
    eus:eu ewe:ee fao:fo fas:fa fij:fj fin:fi fra:fr fry:fy ful:ff gla:gd gle:ga glg:gl glv:gv
    grn:gn guj:gu hat:ht hau:ha heb:he her:hz hin:hi hmo:ho hrv:hr hun:hu hye:hy ibo:ig ido:io
    iii:ii iku:iu ile:ie ina:ia ind:id ipk:ik isl:is ita:it jav:jv jpn:ja kal:kl kan:kn kas:ks
    kat:ka kau:kr kaz:kk khm:km kik:ki kin:rw kir:ky kom:kv kon:kg kor:ko kua:kj kur:ku lao:lo
    lat:la lav:lv lim:li lin:ln lit:lt ltz:lb lub:lu lug:lg mah:mh mal:ml mar:mr mkd:mk mlg:mg
    mlt:mt mon:mn mri:mi msa:ms mya:my nau:na nav:nv nbl:nr nde:nd ndo:ng nep:ne nld:nl nno:nn
    nob:nb nor:no nya:ny oci:oc oji:oj ori:or orm:om oss:os pan:pa pli:pi pol:pl por:pt pus:ps
    que:qu roh:rm ron:ro run:rn rus:ru sag:sg san:sa sin:si slk:sk slv:sl sme:se smo:sm sna:sn
    snd:sd som:so sot:st spa:es sqi:sq srd:sc srp:sr ssw:ss sun:su swa:sw swe:sv tah:ty tam:ta
    tat:tt tel:te tgk:tg tgl:tl tha:th tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr twi:tw uig:ug
    ukr:uk urd:ur uzb:uz ven:ve vie:vi vol:vo wln:wa wol:wo xho:xh yid:yi yor:yo zha:za zho:zh
    zul:zu
"""
# Tatoeba tells the member of a macrolanguage where ISO 639-1 has a code for the whole.
_MEMBERS = "arb:ar cmn:zh ekk:et khk:mn lvs:lv npi:ne ory:or pes:fa swh:sw zsm:ms"
_SHORT = dict(entry.split(":") for entry in f"{_ISO_639_1} {_MEMBERS}".split())
# English names as Tatoeba gives them to its exports.
_NAMES = """
    Abkhaz:ab|Afrikaans:af|Albanian:sq|Algerian Arabic:arq|Amharic:am|Ancient Greek:grc|Arabic:ar|
    Aragonese:an|Armenian:hy|Assamese:as|Asturian:ast|Avar:av|Aymara:ay|Azerbaijani:az|Bambara:bm|
    Bashkir:ba|Basque:eu|Belarusian:be|Bengali:bn|Berber:ber|Bislama:bi|Bosnian:bs|Breton:br|
    Bulgarian:bg|Burmese:my|Cantonese:yue|Catalan:ca|Cebuano:ceb|Central Kurdish (Soranî):ckb|
    Chamorro:ch|Chechen:ce|Chinyanja:ny|Chuvash:cv|Cornish:kw|Corsican:co|Crimean Tatar:crh|
    Croatian:hr|Czech:cs|Danish:da|Dhivehi:dv|Dutch:nl|Dzongkha:dz|Egyptian Arabic:arz|English:en|
    Erzya:myv|Esperanto:eo|Estonian:et|Ewe:ee|Faroese:fo|Fijian:fj|Finnish:fi|French:fr|Frisian:fy|
    Galician:gl|Georgian:ka|German:de|Greek:el|Greenlandic:kl|Guarani:gn|Gujarati:gu|
    Haitian Creole:ht|Hausa:ha|Hawaiian:haw|Hebrew:he|Hindi:hi|Hungarian:hu|Icelandic:is|Ido:io|
    Igbo:ig|Ilocano:ilo|Indonesian:id|Interlingua:ia|Interlingue:ie|Inuktitut:iu|Irish:ga|
    Italian:it|Japanese:ja|Javanese:jv|Kabyle:kab|Kannada:kn|Kashmiri:ks|Kazakh:kk|Khmer:km|
    Kinyarwanda:rw|Klingon:tlh|Korean:ko|Kyrgyz:ky|Ladino:lad|Lao:lo|Latin:la|Latvian:lv|
    Limburgish:li|Lingala:ln|Literary Chinese:lzh|Lithuanian:lt|Lojban:jbo|
    Low German (Low Saxon):nds|Luxembourgish:lb|Macedonian:mk|Malagasy:mg|Malay:ms|Malayalam:ml|
    Maltese:mt|Mandarin Chinese:zh|Manx:gv|Maori:mi|Marathi:mr|Marshallese:mh|Mongolian:mn|
    Moroccan Arabic:ary|Nauruan:na|Navajo:nv|Nepali:ne|North Levantine Arabic:apc|
    Northern Kurdish (Kurmancî):kmr|Northern Sami:se|Norwegian Bokmål:nb|Norwegian Nynorsk:nn|
    Occitan:oc|Odia (Oriya):or|Old English:ang|Oromo:om|Ossetian:os|Ottoman Turkish:ota|Pali:pi|
    Pashto:ps|Persian:fa|Polish:pl|Portuguese:pt|Punjabi (Eastern):pa|Quechua:qu|Romanian:ro|
    Romansh:rm|Rundi:rn|Russian:ru|Samoan:sm|Sango:sg|Sanskrit:sa|Sardinian:sc|Scottish Gaelic:gd|
    Serbian:sr|Shanghainese:wuu|Shona:sn|Sicilian:scn|Sindhi:sd|Sinhala:si|Slovak:sk|Slovenian:sl|
    Somali:so|Southern Sotho:st|Spanish:es|Sundanese:su|Swahili:sw|Swazi:ss|Swedish:sv|
    Swiss German:gsw|Tagalog:tl|Tahitian:ty|Tajik:tg|Tamil:ta|Tatar:tt|Telugu:te|Thai:th|
    Tibetan:bo|Tigrinya:ti|Toki Pona:tok|Tongan:to|Tsonga:ts|Tswana:tn|Turkish:tr|Turkmen:tk|
    Twi:tw|Ukrainian:uk|Urdu:ur|Uyghur:ug|Uzbek:uz|Vietnamese:vi|Volapük:vo|Walloon:wa|Welsh:cy|
    Wolof:wo|Xhosa:xh|Yakut:sah|Yiddish:yi|Yoruba:yo|Zulu:zu
"""
_CODES_OF_NAMES = dict(entry.strip().split(":") for entry in _NAMES.split("|"))
_NAMES_OF_CODES = {code: name for name, code in reversed(_CODES_OF_NAMES.items())}
_KNOWN = {*_SHORT.values(), *_CODES_OF_NAMES.values()}
_CODE = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")

LanguagePair = tuple[str, str]


def language_code(code: str) -> str:
    """The ISO 639-1 code of a three-letter one; a code that has none stays as it is.

    >>> [language_code(code) for code in ("eng", "cmn", "ar", "arz")]
    ['en', 'zh', 'ar', 'arz']
    """
    return _SHORT.get(code.lower(), code)


def language_codes(codes: pa.Array) -> pa.Array:
    """`language_code` of each."""
    encoded = codes.dictionary_encode()
    names = [None if code is None else language_code(code) for code in encoded.dictionary.tolist()]
    return pa.array(names, pa.string()).take(encoded.indices)


def code_of_name(name: str) -> str | None:
    """The code of a language by its English name; None for one that is not known.

    >>> code_of_name("Mandarin Chinese"), code_of_name("Elvish")
    ('zh', None)
    """
    return _CODES_OF_NAMES.get(name)


def language_name(code: str) -> str:
    """The English name of a language by its code; the code itself where it is not known.

    >>> [language_name(code) for code in ("ja", "und", "tlh", "x-elvish")]
    ['Japanese', 'unknown language', 'Klingon', 'x-elvish']
    """
    return "unknown language" if code == "und" else _NAMES_OF_CODES.get(code, code)


def is_known_code(code: str) -> bool:
    """True for a code that is in use for a language here, of two letters or of three.

    >>> [is_known_code(code) for code in ("en", "eng", "arz", "txt")]
    [True, True, True, False]
    """
    return code in _SHORT or code in _KNOWN


def is_language_code(code: str) -> bool:
    """True for what looks like a language code: letters, then parts such as a script or region."""
    return _CODE.fullmatch(code) is not None


def check_language_code(code: str) -> str:
    """The code itself, which may be the name of a file or folder then.

    Raises:
        InputError: It does not look like a language code, or is no `path_name`.
    """
    if not is_language_code(code):
        raise InputError(
            f"{code!r} is no language code, and would be the name of a file; needed are such as "
            "en, zh-Hans or und. Check the column of languages.",
            faq="languages",
        )
    return path_name(code, "language")


def parse_language_pair(text: str) -> LanguagePair:
    """Reads a pair of languages such as `en-ar`; three-letter codes become two-letter ones.

    Raises:
        InputError: One language, the same twice, or no codes.

    >>> parse_language_pair("eng-ara")
    ('en', 'ar')
    """
    codes = tuple(language_code(code) for code in text.split("-"))
    if len(codes) == 1:
        raise InputError(f"{text!r} is one language; needed are two with a hyphen, such as en-ar.")
    if len(codes) != 2 or not all(map(is_language_code, codes)):
        raise InputError(f"{text!r} is no pair of languages; write two codes, such as en-ar.")
    if codes[0] == codes[1]:
        raise InputError(f"{text!r} is one language twice; needed are two, such as en-ar.")
    return codes[0], codes[1]


def parse_language_pairs(texts: list[str] | tuple[str, ...]) -> list[LanguagePair]:
    """Reads pairs of languages, each of which may come once, in one order.

    Raises:
        InputError: As `parse_language_pair`; or a pair comes twice.
    """
    pairs = [parse_language_pair(text) for text in texts]
    if len({frozenset(pair) for pair in pairs}) < len(pairs):
        raise InputError(f"{' '.join(texts)}: a pair of languages comes twice; name it once.")
    return pairs
