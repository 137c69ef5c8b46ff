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
    """``ridge``: lambda, or (of the weight, of the bias)."""
    x, y = _extended(features), np.eye(num_classes)[labels]
    A = x.T @ x / len(x) + _penalty(ridge, features.shape[1])
    V = (y.T @ x / len(x)) @ np.linalg.inv(A)
    return V[:, :-1], V[:, -1]


def _penalty(ridge, dim):
    return np.diag([*[ridge[0]] * dim, ridge[1]]) if isinstance(ridge, tuple) else ridge * np.eye(dim + 1)


def least_squares_weight(features, labels, num_classes, ridge):
    """Of a layer without a bias, as a least-squares problem of the samples with rows for the ridge."""
    root = np.vstack([features / np.sqrt(len(features)), np.sqrt(ridge) * np.eye(features.shape[1])])
    targets = np.eye(num_classes)[labels] / np.sqrt(len(features))
    goal = np.vstack([targets, np.zeros((features.shape[1], num_classes))])
    return np.linalg.lstsq(root, goal, rcond=1e-12)[0].T


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
    total = mse_loss(features, labels, weight, bias, ridge)
    perp = np.trace((V - V_ls) @ A @ (V - V_ls).T) / 2
    return {
        "mse_total": total,
        "mse_ls": nc1_term + nc23_term,
        "mse_nc1": nc1_term,
        "mse_nc23": nc23_term,
        "mse_perp": perp,
        "perp_share": perp / total,
        "path_distance": np.linalg.norm(V - V_ls) / np.linalg.norm(V_ls),
    }


def mse_decomposition_of_blocks(features, labels, weight, bias, ridge):
    """The terms where ``ridge`` is (of the weight, of the bias): V_LS of the normal equations, its losses."""

    def loss(weight, bias):
        penalty = ridge[0] * (weight**2).sum() + ridge[1] * (bias**2).sum()
        return mse_loss(features, labels, weight, bias, 0.0) + penalty / 2

    W, b = least_squares_classifier(features, labels, len(weight), ridge)
    means = class_means(features, labels, len(weight))
    shares = np.bincount(labels, minlength=len(weight)) / len(labels)
    errors = W @ means.T + b[:, None] - np.eye(len(weight))
    nc23 = (shares * (errors**2).sum(axis=0)).sum() / 2
    total, least = loss(weight, bias), loss(W, b)
    terms = {"mse_total": total, "mse_ls": least, "mse_nc1": least - nc23, "mse_nc23": nc23}
    return terms | {"mse_perp": total - least, "perp_share": (total - least) / total}


def snr_spectrum(features, labels, num_classes):
    values, vectors = np.linalg.eigh(within_covariance(features, labels, num_classes))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    return np.linalg.svd(root @ centred_means(features, labels, num_classes).T)[1][: num_classes - 1]


def class_variances(features, labels, num_classes):
    means = class_means(features, labels, num_classes)
    return np.array(
        [
            np.mean([np.linalg.norm(h - means[c]) ** 2 for h in features[labels == c]])
            for c in range(num_classes)
        ]
    )


def nc1_cdnv(features, labels, num_classes):
    means = class_means(features, labels, num_classes)
    V = class_variances(features, labels, num_classes)
    pairs = [(c, d) for c in range(num_classes) for d in range(c)]
    return np.mean([(V[c] + V[d]) / (2 * np.linalg.norm(means[c] - means[d]) ** 2) for c, d in pairs])


def _simplex_etf_gram(num_classes):
    return (np.eye(num_classes) - np.ones((num_classes, num_classes)) / num_classes) / np.sqrt(
        num_classes - 1
    )


def _etf_error(product):
    return np.linalg.norm(product / np.linalg.norm(product) - _simplex_etf_gram(len(product)))


def nc2_nearest_etf(rows):
    Y = rows.T / np.linalg.norm(rows)
    return 2 - 2 * np.linalg.norm(Y @ _simplex_etf_gram(len(rows)), "nuc")


def _pair_distances(rows):
    unit = [row / np.linalg.norm(row) for row in rows]
    return np.array([np.linalg.norm(unit[c] - unit[d]) for c in range(len(unit)) for d in range(c)])


def _row_space(rows):
    _, s, directions = np.linalg.svd(rows)
    return directions[: int((s > 1e-9 * s[0]).sum())]


def wider_metrics(features, labels, weight, bias):
    """Every column of the wider set that rests on the samples of one split and the classifier."""
    C = len(weight)
    means = class_means(features, labels, C)
    global_mean = means.mean(axis=0)
    centred = means - global_mean
    within, between = within_covariance(features, labels, C), centred.T @ centred / C
    pseudo_inverse = np.linalg.pinv(within + between, rcond=1e-12, hermitian=True)
    cosines = [w @ m / np.linalg.norm(w) / np.linalg.norm(m) for w, m in zip(weight, centred, strict=True)]
    classes = [features[labels == c] for c in range(C)]
    angles = np.linalg.svd(_row_space(weight) @ _row_space(centred).T)[1]
    nearest = nearest_class_mean(features, means)
    return {
        "nc1_trace_ratio": np.trace(within) / np.trace(between),
        "nc1_cdnv": nc1_cdnv(features, labels, C),
        "nc1_vci": 1 - np.trace(pseudo_inverse @ between) / min(features.shape[1], C - 1),
        "nc1_numerical_rank": np.mean([(np.linalg.norm(H, "nuc") / np.linalg.norm(H)) ** 2 for H in classes]),
        "nc2_etf_error_means": _etf_error(centred @ centred.T),
        "nc2_etf_error_classifier": _etf_error(weight @ weight.T),
        "nc2_nearest_etf_means": nc2_nearest_etf(centred),
        "nc2_nearest_etf_classifier": nc2_nearest_etf(weight),
        "nc2_uniformity_distance": _pair_distances(centred).var(),
        "nc2_uniformity_log": np.log(1 / _pair_distances(centred)).var(),
        "nc2_row_sum": np.linalg.norm(sum(weight)),
        "nc3_product_error": _etf_error(weight @ centred.T),
        "nc3_cosine": np.mean(cosines),
        "nc3_uniform_duality": np.var([w @ m for w, m in zip(weight, centred, strict=True)], ddof=1),
        "nc3_subspace_angle": angles.sum() / (C - 1),
        "bias_collapse": np.linalg.norm(weight @ global_mean + bias),
        "ncc_accuracy": np.mean(nearest == labels),
        "weight_norm": np.sqrt((weight**2).sum()),
        "means_norm": np.sqrt((centred**2).sum()),
        "global_mean_norm": np.linalg.norm(global_mean),
        "bias_norm": np.linalg.norm(bias),
        "rank": np.linalg.matrix_rank(centred, tol=1e-9 * np.linalg.norm(centred)),
        "effective_rank": effective_rank(features, labels, C),
        "feature_norm": np.mean([np.linalg.norm(h) for h in features]),
        **minority(features, labels, weight),
    }


def effective_rank(features, labels, num_classes):
    """From the singular values of a matrix whose Gram matrix is Sigma_T."""
    means = class_means(features, labels, num_classes)
    within = (features - means[labels]) / np.sqrt(len(features))
    between = (means - means.mean(axis=0)) / np.sqrt(num_classes)
    variances = np.linalg.svd(np.vstack([within, between]))[1] ** 2
    shares = variances[variances > 0] / variances.sum()
    return np.exp(-(shares * np.log(shares)).sum())


def minority(features, labels, weight):
    """Those of the sorted counts that are below exp of the middle between the logarithms of both ends."""
    counts = np.array([(labels == c).sum() for c in range(len(weight))])
    middle = (np.log(counts.min()) + np.log(counts.max())) / 2
    few = [c for c in range(len(weight)) if np.log(counts[c]) < middle - 1e-12]
    many = [c for c in range(len(weight)) if c not in few] if few else []
    means = centred_means(features, labels, len(weight))

    def angle(rows, classes):
        pairs = [(a, b) for a in classes for b in classes if a < b]
        cosines = [rows[a] @ rows[b] / np.linalg.norm(rows[a]) / np.linalg.norm(rows[b]) for a, b in pairs]
        return np.mean(cosines) if cosines else np.nan

    def size(classes):
        return np.mean([np.linalg.norm(weight[c]) for c in classes]) if classes else np.nan

    return {
        "minority_angle": angle(means, few),
        "majority_angle": angle(means, many),
        "minority_angle_classifier": angle(weight, few),
        "majority_angle_classifier": angle(weight, many),
        "minority_ratio": size(few) / size(many),
    }


def nc5_ood_orthogonality(features, labels, num_classes, ood_features):
    ood = ood_features.mean(axis=0)
    means = class_means(features, labels, num_classes)
    return np.mean([abs(mean @ ood) / np.linalg.norm(mean) / np.linalg.norm(ood) for mean in means])
