"""The page of a demo, by Gradio: nothing of it is fetched from other hosts, and nothing is sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twhin_hf.demo.answers import Demo
from twhin_hf.demo.opening import open_demo
from twhin_hf.demo.showing import answer_html, header_html, map_html, message_html, style
from twhin_hf.errors import InputError

if TYPE_CHECKING:
    import gradio

TITLE = "What a socially enriched encoder sees"
_MOST_CHARACTERS = 2000
_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_CODE_FONT = ("ui-monospace", "Consolas", "monospace")
"""Those of the reader's system: Gradio's own come from another host."""


def demo_page(demo: Demo) -> gradio.Blocks:
    """The page: a field for a post, examples, what is found, the map.

    Args:
        demo: What answers.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr

    def answer(text: str) -> str:
        try:
            return answer_html(demo.answer(text[:_MOST_CHARACTERS]), demo.content)
        except InputError as error:
            return message_html(f"{str(error).capitalize()}.")

    examples = demo.content.settings["examples"]
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(header_html(demo.content))
        text = gr.Textbox(
            label="Your post, in any language",
            placeholder="Write something, and press Enter",
            lines=1,
            max_length=_MOST_CHARACTERS,
            elem_id="post",
        )
        button = gr.Button("Find what lies near", variant="primary", elem_id="find")
        found = gr.HTML(render=False, elem_id="found")
        gr.Examples(
            [[example] for example in examples],
            text,
            found,
            answer,
            cache_examples=False,
            run_on_click=True,
            label="Or click one of these",
        )
        found.render()
        gr.HTML(map_html(demo.content))
        gr.on([text.submit, button.click], answer, text, found, api_name="answer")
    return page


def launch(folder: str | Path, host: str | None = None, port: int | None = None) -> None:
    """Opens the demo of a folder, and shows it until it is stopped.

    Args:
        folder: Of `make_demo`.
        host: Address to listen at; that of Gradio's environment, else of this machine alone.
        port: Port to listen at; the first free one from 7860 on where it is None.

    Raises:
        FileNotFoundError: It is no folder of a demo, or a model is not there.
        InputError: A file in it is damaged, or a model cannot be loaded.
    """
    demo_page(open_demo(folder)).launch(server_name=host, server_port=port, **launch_options())


def launch_options() -> dict[str, Any]:
    """What `launch` of the page is told beside the address."""
    import gradio as gr

    return {
        "theme": gr.themes.Default(primary_hue="blue", font=_FONT, font_mono=_CODE_FONT),
        "css": style(),
        "footer_links": [],
        "share": False,
        "ssr_mode": False,
    }
