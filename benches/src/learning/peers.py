"""Trains what it is told to, on one core, and says how long it took and how far off it was."""

import sys
import time

import lightgbm
import numpy
import xgboost
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

rows, new, width, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
table = numpy.fromfile(path, dtype="<f8").reshape(rows + new, width + 1)
x, y = table[:rows, :-1].copy(), table[:rows, -1].copy()
new_x, new_y = table[rows:, :-1].copy(), table[rows:, -1].copy()

TREES = 100


def model(name):
    if name == "lightgbm":
        return lightgbm.LGBMRegressor(
            n_estimators=TREES, num_leaves=31, learning_rate=0.1, min_child_samples=20,
            reg_lambda=1.0, max_bin=255, n_jobs=1, verbosity=-1,
        )
    if name == "xgboost":
        return xgboost.XGBRegressor(
            n_estimators=TREES, max_leaves=31, max_depth=0, grow_policy="lossguide", learning_rate=0.1,
            min_child_weight=20, reg_lambda=1.0, max_bin=256, tree_method="hist", n_jobs=1,
        )
    if name == "sklearn-histogram":
        return HistGradientBoostingRegressor(
            max_iter=TREES, max_leaf_nodes=31, learning_rate=0.1, min_samples_leaf=20,
            l2_regularization=1.0, max_bins=255, early_stopping=False,
        )
    if name == "sklearn-forest":
        return RandomForestRegressor(
            n_estimators=TREES, min_samples_leaf=5, max_features=1 / 3, n_jobs=1, random_state=1,
        )
    raise ValueError(name)


print("ready", flush=True)
for line in sys.stdin:
    fitted = model(line.strip())
    start = time.perf_counter()
    fitted.fit(x, y)
    seconds = time.perf_counter() - start
    error = float(numpy.sqrt(numpy.mean((fitted.predict(new_x) - new_y) ** 2)))
    print(seconds, error, flush=True)
