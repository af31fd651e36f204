"""Few points that stand for many: none of the many lies far from one of them."""

import torch
from torch import Tensor

from healthygan.common.progress import Progress, silent

ROUNDING = 1e-5
"""Above what a distance computed from a product of float32 vectors is off by, as a share of their squares."""


def coreset(points: Tensor, count: int, random: torch.Generator, progress: Progress = silent) -> tuple[Tensor, Tensor]:
    """Greedy k-centre: after a random first, ever the point farthest from those chosen (Gonzalez 1985).

    A point is nearer to a new centre than to its own only if the two centres lie less than twice its distance
    apart: only such points are looked at, which changes nothing of the result.

    Args:
        points: n x d.
        count: centres wanted, 1 to n.
        random: draws the first.

    Returns:
        (count,) places of the centres, and how far each was from those before it (the first: from the farthest).
    """
    chosen = torch.empty(count, dtype=torch.int64, device=points.device)
    radii = points.new_empty(count)
    chosen[0] = int(torch.randint(len(points), (1,), generator=random))
    points = points - points.mean(dim=0)
    distances = (points - points[chosen[0]]).norm(dim=1)
    radii[0] = distances.max()
    owner = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    centres, squares = points.new_empty(count, points.shape[1]), points.new_empty(count)
    centres[0], squares[0] = points[chosen[0]], points[chosen[0]].square().sum()
    with progress("choosing the bank", count, 1) as advance:
        for number in range(1, count):
            radii[number], chosen[number] = distances.max(dim=0)
            centre = centres[number] = points[chosen[number]]
            squares[number] = centre.square().sum()
            both = squares[:number] + squares[number]
            # Rounding can only make them seem nearer to each other, which costs a look but no exactness.
            apart = (both * (1 - ROUNDING) - 2 * centres[:number] @ centre).clamp_min(0).sqrt() / 2
            near = (distances > apart[owner]).nonzero()[:, 0]
            new = (points[near] - centre).norm(dim=1)
            nearer = new < distances[near]
            moved = near[nearer]
            distances[moved] = new[nearer]
            owner[moved] = number
            distances[chosen[number]] = 0
            advance()
    return chosen, radii
