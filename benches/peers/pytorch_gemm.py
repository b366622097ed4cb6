"""Matrix products in PyTorch on all cores.

Prints rows as timing.py describes them.
"""

import torch

import timing


def main():
    args = timing.arguments()
    x, dy = torch.rand(128, 6272) - 0.5, torch.rand(128, 1024) - 0.5
    w = torch.rand(6272, 1024) - 0.5
    products = [
        ("fc1 forward", lambda: x @ w),
        ("fc1 weight gradient", lambda: w.addmm_(x.T, dy, alpha=-1e-3)),
        ("fc1 input gradient", lambda: dy @ w.T),
    ]
    for n in (256, 1024, 2048):
        a, b = torch.rand(n, n) - 0.5, torch.rand(n, n) - 0.5
        products.append((f"{n}^3", lambda a=a, b=b: a @ b))
    for name, product in products:
        n = int(name.split("^")[0]) if "^" in name else None
        operations = 2 * n**3 if n else 2 * 128 * 1024 * 6272
        rates = [operations / ms * 1e-6 for ms in timing.measure(product, args)]
        timing.report(f"GEMM {name}", "PyTorch", torch.__version__, rates, "GFLOP/s")


main()
