"""An engagement model behind HTTP."""
