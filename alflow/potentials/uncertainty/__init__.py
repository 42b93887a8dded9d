"""Uncertainty of an ensemble's mean: estimators behind one protocol."""

from alflow.potentials.uncertainty.lastlayer import CheckedErrors, LastLayer, LastLayerCovariance, LastLayerDistance
from alflow.potentials.uncertainty.protocol import Estimator
from alflow.potentials.uncertainty.spread import EnergySpread, ForceSpread, SpreadAndDistance

__all__ = [
    "CheckedErrors",
    "EnergySpread",
    "Estimator",
    "ForceSpread",
    "LastLayer",
    "LastLayerCovariance",
    "LastLayerDistance",
    "SpreadAndDistance",
]
