"""The tutorial's code runs from top to bottom, and its own assertions hold."""

import re

from util.config import ROOT

TEXT = (ROOT / "docs" / "torch_to_tf_tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_code_of_the_tutorial_runs():
    scope: dict = {"__name__": "tutorial"}
    for block in BLOCKS:
        exec(compile(block, "torch_to_tf_tutorial.md", "exec"), scope)
    assert len(scope["losses"]) == 100


def test_ported_model_has_about_forty_lines():
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert 30 <= len(lines) <= 45


def test_both_models_have_the_same_lines_of_definition():
    """What the page says: nothing but the names changes."""
    theirs, ours = (
        block[block.index("def __init__") : block.index(f"    def {method}(")]
        for block, method in zip(BLOCKS[:2], ("forward", "call"), strict=True)
    )
    renamed = re.sub(r"\bnn\.(?=[A-Z])", "nn_", theirs)
    renamed = renamed.replace("torch.randn", "torch_randn")
    renamed = renamed.replace(
        "torch.ones(action_dim)", "np.ones(action_dim, np.float32)"
    )
    assert renamed == ours
