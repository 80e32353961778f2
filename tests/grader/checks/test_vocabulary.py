import pytest
import torch

from grader.answering.cost import Cost
from grader.checks import Wrong, agree, agree_one_of, at_most, in_torch, part, refusal
from grader.verdicts.fault import Changed, Missing

X = torch.tensor([1.0, 2.0, 4.0])


def test_agree_accepts_what_agrees():
    agree(X, X.clone(), axes="n", of="x", known={"never computed": lambda: 1 / 0})


def test_another_dtype_does_not_agree_unless_it_may():
    with pytest.raises(Wrong, match="x: wrong dtype: expected float32, got float64"):
        agree(X.double(), X, of="x")
    with pytest.raises(Wrong, match="x, as 'it': wrong dtype"):
        agree_one_of(X.double(), {"it": X}, of="x")
    agree(X.double(), X, of="x", dtype=False)


def test_agree_names_what_was_computed_and_the_known_mistake_that_gives_exactly_this():
    known = {"a mean": X / 3, "a sum": lambda: X * 5, "twice": lambda: X * 2}
    with pytest.raises(Wrong, match=r"(?s)^f of x n=3: 3 of 3 values differ.*This is what twice gives\.$"):
        agree(X * 2, X, axes="n", of="f of x n=3", known=known)


def test_agree_names_no_mistake_that_is_not_this_one():
    with pytest.raises(Wrong) as caught:
        agree(X * 2, X, of="x", known={"a mean": X / 3, "another shape": torch.ones(4)})
    assert "This is what" not in str(caught.value)


def test_of_two_mistakes_that_give_the_same_both_are_named_and_of_three_none():
    with pytest.raises(Wrong, match=r"\n  Both twice and a sum give this\.$") as caught:
        agree(X * 2, X, of="x", known={"a mean": X / 3, "twice": X * 2, "a sum": lambda: X * 2})
    assert not caught.value.finding.mistake
    with pytest.raises(Wrong) as caught:
        agree(X * 2, X, of="x", known=dict.fromkeys(("a", "b", "c"), X * 2))
    assert len(str(caught.value).splitlines()) < 5
    assert " c " not in str(caught.value)
    with pytest.raises(Wrong, match=r"\n  a copy and a list both cost about that\.$"):
        at_most(5000, 1000, of="FLOPs", known={"a copy": 4900, "a list": 5100})


def test_a_wrong_dtype_alone_is_no_known_mistake():
    with pytest.raises(Wrong, match=r"^x: wrong dtype: expected float64, got float32$"):
        agree(torch.ones(3), torch.ones(3, dtype=torch.float64), of="x", known={"the input": torch.ones(3)})


def test_a_known_mistake_is_recognised_in_another_precision():
    with pytest.raises(Wrong, match="This is what twice gives"):
        agree(X * 2, X, of="x", known={"twice": X.double() * 2})


def test_agree_one_of_returns_the_convention_seen():
    wants = {"by n": X, "by n-1": X * 1.5}
    assert agree_one_of(X, wants, of="x") == "by n"
    assert agree_one_of(X * 1.5, wants, of="x") == "by n-1"


def test_agree_one_of_names_all_conventions_where_none_fits():
    with pytest.raises(Wrong, match=r"(?s)^x, as 'by n': .*Nor is it 'by n-1'.*This is what zero gives"):
        agree_one_of(X * 0, {"by n": X, "by n-1": X * 1.5}, of="x", known={"zero": X * 0})


def test_at_most():
    at_most(10, 10, of="FLOPs")
    with pytest.raises(Wrong, match=r"FLOPs: at most 1,000 allowed, got 5,000, 5 times as much$"):
        at_most(5000, 1000, of="FLOPs", known={"half of it": 2500})
    with pytest.raises(Wrong, match=r"\n  That is about what recomputing costs\."):
        at_most(5000, 1000, of="FLOPs", known={"half of it": 2500, "recomputing": 4900})
    with pytest.raises(Wrong, match="at most 0 allowed, got 3"):
        at_most(3, 0, of="calls")


def test_a_refusal_of_the_right_kind_holds():
    with refusal(ValueError, of="f"):
        raise ValueError
    with refusal(LookupError, of="f"):
        raise KeyError("a subclass will do")


def test_no_refusal_or_another_kind_is_wrong():
    with pytest.raises(Wrong, match=r"^f: expected ValueError, but nothing was raised"), refusal(ValueError, of="f"):
        pass
    with pytest.raises(Wrong, match=r"^f: expected ValueError, got KeyError: 'k'"), refusal(ValueError, of="f"):
        raise KeyError("k")


@pytest.mark.parametrize("error", [NotImplementedError(), Missing("f"), Changed("argument 1")])
@pytest.mark.parametrize("kind", [ValueError, RuntimeError, Exception])
def test_a_stub_or_a_fault_is_never_taken_for_a_refusal(kind, error):
    """NotImplementedError is a RuntimeError: a stub must not pass a check that asks for one."""
    with pytest.raises(type(error)) as caught, refusal(kind, of="f"):
        raise error
    assert caught.value is error


def test_an_assertion_of_the_check_goes_through_a_refusal():
    with pytest.raises(AssertionError, match="mine"), refusal(ValueError, of="f"):
        raise AssertionError("mine")


def test_part_marks_a_check():
    assert part("f").mark.args == ("f",)


def test_work_stays_in_torch_but_for_a_few_values():
    in_torch(Cost(left={"Tensor.item": 64}), of="a step")
    in_torch(Cost(left={"Tensor.item": 90}), of="a step", values=90)
    with pytest.raises(
        Wrong, match=r"^a step: this part's work stays in torch, .*: 4,096 values left it through Tensor.n"
    ):
        in_torch(Cost(left={"Tensor.numpy": 4096}), of="a step")
    with pytest.raises(
        Wrong, match=r"40 values left it through Tensor.item and 50 values left it through Tensor.tolist"
    ):
        in_torch(Cost(left={"Tensor.tolist": 50, "Tensor.item": 40}), of="a step")
