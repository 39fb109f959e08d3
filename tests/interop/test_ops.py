"""The registered operators from Python: what torch.library expects of an operator, autocast, meta tensors, errors."""

import pytest
import torch

REFERENCE_DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def arguments(dtype=torch.float64, groups=1, bias=True, scale_dtype=None, requires_grad=True, residual=True):
    generator = torch.Generator().manual_seed(7)

    def drawn(*shape, of=dtype, grad=False):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(of).requires_grad_(grad and requires_grad)

    features_in, features_out, scales = 10, 12, scale_dtype or dtype
    return (
        drawn(2, 5, features_in, grad=True),
        drawn(features_out, features_in),
        drawn(features_out, grad=True) if bias else None,
        drawn(*([groups] if groups > 1 else []), features_in, of=scales, grad=True),
        drawn(features_out, of=scales, grad=True),
        residual,
    )


def reference(x, weight, bias, scale_in, scale_out, residual):
    """METHODS: W' = W * (residual + scale_out scale_in^T), row block by row block, in float64."""
    x, weight, scale_in, scale_out = (t.double() for t in (x, weight, scale_in, scale_out))
    groups = scale_in.reshape(-1, scale_in.shape[-1])
    product = (scale_out.view(len(groups), -1, 1) * groups.unsqueeze(1)).flatten(0, 1)
    return torch.nn.functional.linear(x, weight * (int(residual) + product), None if bias is None else bias.double())


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_opcheck_forward(ops, groups, bias, residual):
    torch.library.opcheck(ops.rescaled_linear.default, arguments(groups=groups, bias=bias, residual=residual))


@pytest.mark.parametrize("groups", [1, 3])
def test_opcheck_backward(ops, groups):
    x, weight, _, scale_in, scale_out, residual = arguments(groups=groups, requires_grad=False)
    grad = torch.ones(2, 5, 12, dtype=x.dtype)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(
        ops.rescaled_linear_backward.default,
        (grad, x, weight, scale_in, scale_out, residual, [True, True, True, True]),
        test_utils=checks,
    )


@pytest.mark.parametrize("mask", [[True, False, False, False], [False, True, True, False], [False, False, False, True]])
def test_backward_computes_what_the_mask_asks_for(ops, mask):
    x, weight, _, scale_in, scale_out, residual = arguments(requires_grad=False)
    grad = torch.ones(2, 5, 12, dtype=x.dtype)
    every = ops.rescaled_linear_backward(grad, x, weight, scale_in, scale_out, residual, [True] * 4)
    some = ops.rescaled_linear_backward(grad, x, weight, scale_in, scale_out, residual, mask)
    for asked, computed, expected in zip(mask, some, every):
        assert (computed is not None) == asked
        if asked:
            torch.testing.assert_close(computed, expected)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("dtype", REFERENCE_DTYPES, ids=str)
def test_values(ops, dtype, groups, residual):
    given = arguments(dtype, groups, residual=residual)
    ours = ops.rescaled_linear(*given)
    expected = reference(*given)
    assert ours.dtype == dtype
    bound = 8 * torch.finfo(dtype).eps * expected.abs().max()
    assert (ours.double() - expected).abs().max() <= bound


def test_gradients(ops):
    torch.autograd.gradcheck(ops.rescaled_linear, arguments(groups=3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(ops, dtype):
    """Under autocast the products are computed in low precision; parameters stay and get gradients in their own."""
    given = arguments(torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        ours = ops.rescaled_linear(*given)
    assert ours.dtype == dtype
    expected = reference(*given)
    assert (ours.double() - expected).abs().max() <= 16 * torch.finfo(dtype).eps * expected.abs().max()
    ours.float().sum().backward()
    for tensor in (given[0], given[2], given[3], given[4]):
        assert tensor.grad.dtype == torch.float32 and tensor.grad.abs().max() > 0


def test_float32_scales_with_low_precision_weights(ops):
    given = arguments(torch.bfloat16, scale_dtype=torch.float32)
    ours = ops.rescaled_linear(*given)
    assert ours.dtype == torch.bfloat16
    ours.float().sum().backward()
    assert given[0].grad.dtype == torch.bfloat16
    assert given[3].grad.dtype == given[4].grad.dtype == torch.float32


def test_meta(ops):
    given = [t.to("meta") if isinstance(t, torch.Tensor) else t for t in arguments(requires_grad=False)]
    out = ops.rescaled_linear(*given)
    assert out.device.type == "meta" and out.shape == (2, 5, 12)


def test_compiled_graph_holds_the_operator(ops):
    """torch.export traces through it, so that it can be compiled and deployed from Python too."""

    class Layer(torch.nn.Module):
        def forward(self, x, weight, bias, scale_in, scale_out):
            return ops.rescaled_linear(x, weight, bias, scale_in, scale_out)

    given = arguments(torch.float32, requires_grad=False)
    program = torch.export.export(Layer(), given[:5])
    assert any(node.target == ops.rescaled_linear.default for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(*given[:5]), ops.rescaled_linear(*given))


@pytest.mark.parametrize(
    "position, wrong",
    [(0, torch.zeros(2, 9)), (2, torch.zeros(11)), (3, torch.zeros(9)), (3, torch.zeros(5, 10)), (4, torch.zeros(10))],
    ids=["input", "bias", "scale_in", "groups", "scale_out"],
)
def test_wrong_shapes_are_named(ops, position, wrong):
    given = list(arguments(torch.float32, requires_grad=False))
    given[position] = wrong
    with pytest.raises(RuntimeError, match="rescaled_linear.*" + str(wrong.shape[-1])):
        ops.rescaled_linear(*given)
