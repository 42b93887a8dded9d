"""Uncertainty of an ensemble's mean: estimators behind one protocol."""

from alflow.potentials.uncertainty.features import Features, HasLastLayer, features_of, leverage, stated_uncertainties
from alflow.potentials.uncertainty.lastlayer import CheckedErrors, LastLayer, LastLayerCovariance, LastLayerDistance
from alflow.potentials.uncertainty.protocol import Estimator
from alflow.potentials.uncertainty.spread import EnergySpread, ForceSpread, SpreadAndDistance

__all__ = [
    "CheckedErrors",
    "EnergySpread",
    "Estimator",
    "Features",
    "ForceSpread",
    "HasLastLayer",
    "LastLayer",
    "LastLayerCovariance",
    "LastLayerDistance",
    "SpreadAndDistance",
    "features_of",
    "leverage",
    "stated_uncertainties",
]
