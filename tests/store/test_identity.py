"""A mismatch names the fields that differ."""

from __future__ import annotations

import copy

import pytest

from motive.errors import IdentityMismatch
from motive.store import Identity, compare_identities, require_same_identity


def test_equal_identities_pass(new_store) -> None:
    require_same_identity(new_store("a"), new_store("b"), "score")


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (("projection", "seed"), 1, "projection.seed"),
        (("gradient", "mask", "kind"), "raft", "gradient.mask.kind"),
        (("gradient", "draws", 0, "sigma"), 0.5, "gradient.draws[0].sigma"),
        (("projection", "parameters", "a.weight"), [3, 4, 1], "projection.parameters.a.weight"),
        (("gradient", "extra"), None, "gradient.extra"),
    ],
)
def test_a_difference_is_named_with_both_values(new_store, identity, path, value, name) -> None:
    other = copy.deepcopy(identity)
    inner = other
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    a, b = new_store("a"), new_store("b", identity=other)
    with pytest.raises(IdentityMismatch) as caught:
        require_same_identity(a, b, "score")
    assert list(caught.value.fields) == [name]
    assert str(caught.value).startswith("score: identities must be equal")
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)
    require_same_identity(a, b, "score", ignore=(name,))
    require_same_identity(a, b, "score", ignore=(name.split(".")[0],))


def test_numbers_compare_by_value_and_truth_apart_from_them() -> None:
    assert compare_identities(Identity({}, {"fps": 16}), Identity({}, {"fps": 16.0})) == {}
    assert compare_identities(Identity({"on": 1}, {}), Identity({"on": True}, {})) == {"projection.on": (1, True)}


def test_many_differences_in_one_place_are_counted() -> None:
    a = Identity({"parameters": {f"p{n}": [n, 1] for n in range(500)}, "seed": 0}, {})
    b = Identity({"parameters": {f"q{n}": [n, 1] for n in range(500)}, "seed": 1}, {})
    fields = compare_identities(a, b)
    assert "projection.seed" in fields
    assert fields["projection.parameters.*"][0] == "996 more entries differ"
    assert len(fields) == 6
