"""Records generations of two other CMA-ES, for the test of `src/study/cmaes/evolution.rs`.

    python benches/peers/cmaes_record.py > tests/data/cmaes.json

The update is that of `cmaes`, the weights are those of `pycma`. Of the tutorial's two small changes
since its first version (arXiv 1604.00772v1), `cmaes` has neither: the rate of the rank-mu update
(58), and the generation that h_sigma counts from, which is that before the update. It also guards a
division by a small number that ours has no need of.
"""

import json

import cmaes._cma
import numpy as np
from cma.recombination_weights import RecombinationWeights
from cmaes import CMA

cmaes._cma._EPS = 1e-300


def slant(x):
    return float(np.sum(x))


def valley(x):
    return float(np.sum(10.0 ** np.arange(len(x)) * (x - 0.3) ** 2))


CASES = [
    (1, 4, 6, valley),
    (2, 6, 8, valley),
    (3, 7, 8, valley),
    (5, 8, 8, slant),
    (6, 30, 3, slant),
    (4, 6, 8, slant),
]


def record(count, population, generations, loss):
    other = CMA(np.linspace(0.2, 0.7, count), 0.2, population_size=population, seed=7)
    mass = other._mu_eff
    other._cmu = 2 * (0.25 + mass + 1 / mass - 2) / ((count + 2) ** 2 + mass)
    weights = RecombinationWeights(population)
    weights.finalize_negative_weights(count, other._c1, other._cmu)
    other._weights = np.array(weights)
    other._g = -1
    told = []
    for _ in range(generations):
        places = sorted((other.ask() for _ in range(population)), key=loss)
        path = other._pc.copy()
        other.tell([(place, loss(place)) for place in places])
        told.append({
            "places": [list(place) for place in places],
            "mean": list(other._mean),
            "sigma": float(other._sigma),
            "covariance": [list(row) for row in other._C],
            "is_stalled": bool(np.allclose(other._pc, (1 - other._cc) * path, atol=0)),
        })
    return {"mean": list(np.linspace(0.2, 0.7, count)), "sigma": 0.2, "generations": told}


print(json.dumps([record(*case) for case in CASES]))
