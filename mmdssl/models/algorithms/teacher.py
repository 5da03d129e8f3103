"""A teacher: the frozen copy of a student that follows it."""
from __future__ import annotations

import copy

import torch
from timm.layers import DropBlock2d, DropPath
from torch import nn


def teacher_of(student: nn.Module) -> nn.Module:
    """A copy without gradients, and without stochastic depth and dropout."""
    teacher = copy.deepcopy(student).requires_grad_(False)
    for module in teacher.modules():
        if isinstance(module, (DropPath, DropBlock2d)):
            module.drop_prob = 0.
        elif isinstance(module, nn.Dropout):
            module.p = 0.
    return teacher


def reset(teacher: nn.Module, student: nn.Module) -> None:
    """Give the teacher the student's parameters and buffers. It may lack some of the student's modules."""
    state = student.state_dict()
    teacher.load_state_dict({name: state[name] for name in teacher.state_dict()})


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """``teacher <- m teacher + (1 - m) student``: parameters only, buffers are the teacher's own."""
    parameters = dict(student.named_parameters())
    names, followers = zip(*teacher.named_parameters())
    torch._foreach_lerp_(followers, [parameters[name] for name in names], 1 - momentum)
