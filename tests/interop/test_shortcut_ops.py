"""The operators of low-rank updates and shortcuts from Python: what torch.library expects, values, gradients, errors."""

import pytest
import torch

ROWS = [0, 8]
SCALING = 0.75


def arguments(dtype=torch.float64, requires_grad=True, handed_out=3, previous=True, branch=False):
    """input, weight, bias, down, up, previous, scaling, rows, branch: two of three projections, rank 2."""
    generator = torch.Generator().manual_seed(7)

    def drawn(*shape, grad=True):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grad and requires_grad)

    return (
        drawn(2, 5, 10),
        drawn(12, 10, grad=False),
        drawn(12),
        drawn(4 + handed_out, 10),
        drawn(8, 2),
        drawn(2, 5, 4) if previous else None,
        SCALING,
        ROWS,
        drawn(2, 5, 10) if branch else None,
    )


def reference(x, weight, bias, down, up, previous, scaling, rows, branch):
    """Both outputs, in float64, projection by projection."""
    x, weight, bias, down, up = (t.double() for t in (x, weight, bias, down, up))
    middle = (x if branch is None else branch.double()) @ down.T
    if previous is not None:
        middle = middle + torch.nn.functional.pad(previous.double(), (0, down.shape[0] - previous.shape[-1]))
    output = torch.nn.functional.linear(x, weight, bias)
    height, rank = up.shape[0] // len(rows), up.shape[1]
    for group, row in enumerate(rows):
        update = scaling * middle[..., group * rank : (group + 1) * rank] @ up[group * height : (group + 1) * height].T
        output = output + torch.nn.functional.pad(update, (row, weight.shape[0] - row - height))
    return output, middle


def folded(given, dense=False):
    x, weight, bias, down, up, _, scaling, rows, _ = given
    return x, weight, bias, down, up, scaling, rows, dense


@pytest.mark.parametrize("branch", [True, False])
@pytest.mark.parametrize("previous", [True, False])
def test_opcheck_shortcut(ops, previous, branch):
    torch.library.opcheck(ops.shortcut_linear.default, arguments(previous=previous, branch=branch))


@pytest.mark.parametrize("dense", [True, False])
def test_opcheck_folded(ops, dense):
    torch.library.opcheck(ops.folded_linear.default, folded(arguments(handed_out=0), dense))


def test_opcheck_backwards(ops):
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    x, weight, _, down, up, _, scaling, rows, _ = given = arguments(requires_grad=False)
    output, middle = ops.shortcut_linear(*given)
    torch.library.opcheck(
        ops.shortcut_linear_backward.default,
        (output, middle, x, weight, down, up, middle, scaling, rows, None, [True] * 5 + [False]),
        test_utils=checks,
    )
    x, weight, _, down, up, scaling, rows, dense = folded(arguments(requires_grad=False, handed_out=0), True)
    torch.library.opcheck(
        ops.folded_linear_backward.default, (output, x, weight, down, up, scaling, rows, dense, [True] * 4), test_utils=checks
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_values(ops, dtype):
    given = arguments(dtype)
    for ours, expected in zip(ops.shortcut_linear(*given), reference(*given)):
        assert ours.dtype == dtype
        assert (ours.double() - expected).abs().max() <= 8 * torch.finfo(dtype).eps * expected.abs().max()
    plain = arguments(dtype, handed_out=0, previous=False)
    ours, (expected, _) = ops.folded_linear(*folded(plain)), reference(*plain)
    assert (ours.double() - expected).abs().max() <= 8 * torch.finfo(dtype).eps * expected.abs().max()


def test_gradients(ops):
    torch.autograd.gradcheck(ops.shortcut_linear, arguments(branch=True))
    torch.autograd.gradgradcheck(ops.shortcut_linear, arguments(branch=True))
    for dense in (True, False):
        torch.autograd.gradcheck(ops.folded_linear, folded(arguments(handed_out=0), dense))
        torch.autograd.gradgradcheck(ops.folded_linear, folded(arguments(handed_out=0), dense))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(ops, dtype):
    given = arguments(torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        output, middle = ops.shortcut_linear(*given)
    assert output.dtype == middle.dtype == dtype
    (output.float().sum() + middle.float().sum()).backward()
    for position in (0, 2, 3, 4, 5):
        assert given[position].grad.dtype == torch.float32 and given[position].grad.abs().max() > 0


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_folds_in_float32(ops, dtype, dense):
    given = arguments(torch.float32, handed_out=0, previous=False)
    x, weight, bias, down, up, scaling, rows, _ = folded(given)
    with torch.autocast("cpu", dtype=dtype):
        output = ops.folded_linear(x, weight, bias, down, up, scaling, rows, dense)
    sum_first = weight.clone()
    for group, row in enumerate(rows):
        sum_first[row : row + 4] += scaling * up[4 * group : 4 * group + 4] @ down[2 * group : 2 * group + 2]
    expected = torch.nn.functional.linear(x.to(dtype), sum_first.to(dtype), bias.to(dtype))
    assert output.dtype == dtype and (output - expected).abs().max() <= 2 * torch.finfo(dtype).eps * expected.abs().max()
    output.float().square().sum().backward()
    exact = torch.autograd.grad(reference(*given)[0].square().sum(), (x, bias, down, up))
    for tensor, gradient in zip((x, bias, down, up), exact):
        assert tensor.grad.dtype == torch.float32
        assert (tensor.grad - gradient).abs().max() <= 16 * torch.finfo(dtype).eps * gradient.abs().max()


def test_opcheck_folded_beside_a_lower_input(ops):
    given = folded(arguments(torch.float32, handed_out=0))
    x, weight, bias, *rest = given
    lower = (x.detach().bfloat16().requires_grad_(), weight, bias.detach().bfloat16().requires_grad_(), *rest)
    torch.library.opcheck(ops.folded_linear.default, lower)


@pytest.mark.parametrize("position, wrong", [(0, (2, 5, 9)), (3, (4, 9)), (4, (9, 2)), (5, (2, 5, 3))], ids=["input", "down", "up", "previous"])
def test_wrong_shapes_are_named(ops, position, wrong):
    given = list(arguments(torch.float32, requires_grad=False))
    given[position] = torch.zeros(wrong)
    with pytest.raises(RuntimeError, match="shortcut_linear.*" + str(wrong[-1])):
        ops.shortcut_linear(*given)
