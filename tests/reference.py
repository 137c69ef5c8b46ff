"""Definitional NumPy formulas of DESIGN's mathematics, independent of the package: slow, plain, float64.

Every function takes the samples themselves: features (N, P), labels (N,), a weight (C, P) and a bias (C,).
"""

import numpy as np


def class_means(features, labels, num_classes):
    return np.stack([features[labels == c].mean(axis=0) for c in range(num_classes)])


def centred_means(features, labels, num_classes):
    means = class_means(features, labels, num_classes)
    return means - means.mean(axis=0)


def within_covariance(features, labels, num_classes):
    deviations = features - class_means(features, labels, num_classes)[labels]
    return sum(np.outer(d, d) for d in deviations) / len(features)


def nc1(features, labels, num_classes):
    means = centred_means(features, labels, num_classes)
    between = means.T @ means / num_classes
    within = within_covariance(features, labels, num_classes)
    return np.trace(within @ np.linalg.pinv(between, rcond=1e-12, hermitian=True)) / num_classes


def _cosines(rows):
    pairs = [(c, d) for c in range(len(rows)) for d in range(len(rows)) if c != d]
    return np.array([rows[c] @ rows[d] / np.linalg.norm(rows[c]) / np.linalg.norm(rows[d]) for c, d in pairs])


def nc2_equinorm(rows):
    norms = np.array([np.linalg.norm(row) for row in rows])
    return norms.std(ddof=1) / norms.mean()


def nc2_equiangular(rows):
    return _cosines(rows).std()


def nc2_maxangle(rows):
    return np.abs(_cosines(rows) + 1 / (len(rows) - 1)).mean()


def nc3_self_duality(features, labels, weight):
    means = centred_means(features, labels, len(weight))
    return np.linalg.norm(weight / np.linalg.norm(weight) - means / np.linalg.norm(means)) ** 2


def nearest_class_mean(features, means):
    return np.array([np.argmin([np.linalg.norm(h - mean) for mean in means]) for h in features])


def collapse_metrics(features, labels, weight):
    means = centred_means(features, labels, len(weight))
    metrics = {"nc1": nc1(features, labels, len(weight))}
    for name, rows in (("means", means), ("classifier", weight)):
        metrics[f"nc2_equinorm_{name}"] = nc2_equinorm(rows)
        metrics[f"nc2_equiangular_{name}"] = nc2_equiangular(rows)
        metrics[f"nc2_maxangle_{name}"] = nc2_maxangle(rows)
    metrics["nc3_self_duality"] = nc3_self_duality(features, labels, weight)
    return metrics


def _extended(features):
    return np.hstack([features, np.ones((len(features), 1))])


def least_squares_classifier(features, labels, num_classes, ridge):
    x, y = _extended(features), np.eye(num_classes)[labels]
    A = x.T @ x / len(x) + ridge * np.eye(x.shape[1])
    V = (y.T @ x / len(x)) @ np.linalg.inv(A)
    return V[:, :-1], V[:, -1]


def mse_loss(features, labels, weight, bias, ridge):
    errors = features @ weight.T + bias - np.eye(len(weight))[labels]
    return ((errors**2).sum() / len(features) + ridge * ((weight**2).sum() + (bias**2).sum())) / 2


def mse_decomposition(features, labels, weight, bias, ridge):
    num_classes = len(weight)
    W, b = least_squares_classifier(features, labels, num_classes, ridge)
    shares = np.bincount(labels, minlength=num_classes) / len(labels)
    means = class_means(features, labels, num_classes)
    within = within_covariance(features, labels, num_classes)
    x = _extended(features)
    A = x.T @ x / len(x) + ridge * np.eye(x.shape[1])
    V, V_ls = np.column_stack([weight, bias]), np.column_stack([W, b])
    nc1_term = np.trace(W @ within @ W.T) / 2 + ridge * (V_ls**2).sum() / 2
    errors = W @ means.T + b[:, None] - np.eye(num_classes)
    nc23_term = (shares * (errors**2).sum(axis=0)).sum() / 2
    return {
        "mse_total": mse_loss(features, labels, weight, bias, ridge),
        "mse_ls": nc1_term + nc23_term,
        "mse_nc1": nc1_term,
        "mse_nc23": nc23_term,
        "mse_perp": np.trace((V - V_ls) @ A @ (V - V_ls).T) / 2,
    }


def snr_spectrum(features, labels, num_classes):
    values, vectors = np.linalg.eigh(within_covariance(features, labels, num_classes))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    return np.linalg.svd(root @ centred_means(features, labels, num_classes).T)[1][: num_classes - 1]
