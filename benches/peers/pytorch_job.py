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
from pytorch_net import logits, variables

BATCH = 128


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
