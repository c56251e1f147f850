"""Socially enriched, multilingual language models of short posts.

Everything that a notebook needs comes from this one import, and is loaded when it is asked for:
`from twhin_hf import read_log, embed_network, mine_pairs, …`. `__init__.pyi` is the list.
"""

import lazy_loader

from twhin_hf.version import __version__ as __version__

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):
    from twhin_hf.extras import check_stage, module_of

    try:
        found = _load(name)
    except ModuleNotFoundError as error:
        check_stage(module_of(error) or __name__)
        raise
    # Late imports of a function would tell less, and later.
    check_stage(getattr(found, "__module__", f"{__name__}.version"))
    return found
