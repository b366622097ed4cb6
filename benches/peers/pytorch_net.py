"""The lesson's net in PyTorch."""

import torch
import torch.nn.functional as F


def variables():
    def normal(*shape):
        return (torch.randn(*shape) * 0.05).requires_grad_()

    return [
        normal(32, 1, 3, 3),
        torch.zeros(32, requires_grad=True),
        normal(1024, 14 * 14 * 32),
        torch.zeros(1024, requires_grad=True),
        normal(10, 1024),
        torch.zeros(10, requires_grad=True),
    ]


def logits(x, weights):
    conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b = weights
    hidden = F.max_pool2d(F.relu(F.conv2d(x, conv_w, conv_b, padding=1)), 2)
    hidden = F.relu(F.linear(hidden.flatten(1), fc1_w, fc1_b))
    return F.linear(hidden, fc2_w, fc2_b)
