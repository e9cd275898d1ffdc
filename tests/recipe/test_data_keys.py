"""The block `data:` of recipes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llmctl.recipe.schema import Data


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"probabilities": [0.5, 0.5]}, "are for mix: interleave_under and interleave_over"),
        ({"mix": "interleave_over", "probabilities": [1.0]}, "1 probabilities for 2 datasets"),
        ({"mix": "interleave_over", "probabilities": [0.5, 0.6]}, "must be above 0 and sum to 1"),
        ({"mix": "interleave_over", "probabilities": [1.0, 0.0]}, "must be above 0 and sum to 1"),
        ({"loss_on": "first"}, "Input should be 'answers', 'last', 'split' or 'all'"),
        ({"cutoff_rule": "0.2.0"}, "Input should be 'lf02'"),
        ({"fill": {"name": 3}}, "valid string"),
    ],
)
def test_what_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Data.model_validate({"datasets": ["a", "b"], **given})


def test_probabilities_may_be_whole_numbers() -> None:
    data = Data.model_validate({"datasets": ["a"], "mix": "interleave_under", "probabilities": [1]})
    assert data.probabilities == (1.0,)
