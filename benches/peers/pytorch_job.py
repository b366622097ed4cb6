"""The lesson's whole job in PyTorch: read MNIST from a directory, train, measure on the test images.

    python pytorch_job.py DIRECTORY [--epochs N]

Eager: compiling takes longer than it saves. Batches are gathered by number, without a loader's
processes. Prints one JSON object, {"peer", "version", "accuracy"}.
"""

import argparse
import json

import torch
import torch.nn.functional as F

import mnist

BATCH = 128


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


def preprocess(images):
    return images.unsqueeze(1).float() / 255


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--epochs", type=int, default=2)
    args = parser.parse_args()

    torch.manual_seed(0)
    (images, labels), (test_images, test_labels) = (
        (torch.tensor(images), torch.tensor(labels)) for images, labels in mnist.load(args.directory)
    )
    labels, test_labels = labels.long(), test_labels.long()
    weights = variables()
    optimizer = torch.optim.SGD(weights, lr=0.001, fused=True)
    order = torch.cat([torch.randperm(len(labels)) for _ in range(args.epochs)])
    for chosen in order.split(BATCH):
        scores = logits(preprocess(images[chosen]), weights)
        loss = F.cross_entropy(scores, labels[chosen], reduction="sum")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        correct = sum(
            (logits(preprocess(x), weights).argmax(1) == y).sum().item()
            for x, y in zip(test_images.split(500), test_labels.split(500))
        )
    accuracy = correct / len(test_labels)
    print(json.dumps({"peer": "PyTorch", "version": torch.__version__, "accuracy": accuracy}))


main()
