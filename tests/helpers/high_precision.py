"""The definitions once more, in 60 digits (mpmath), for deep collapse. Small samples only."""

import mpmath
import numpy as np

DIGITS = 60
ZERO = mpmath.mpf(10) ** -40  # of the largest: exact zeros up to rounding


def _matrix(array):
    return mpmath.matrix(np.asarray(array).tolist())


def _frobenius(matrix):
    return mpmath.mnorm(matrix, "f")


def _singular_values(matrix):
    wide = matrix.cols > matrix.rows
    return list(mpmath.svd_r(matrix.T if wide else matrix, compute_uv=False))


def _trace(matrix):
    return mpmath.fsum(matrix[i, i] for i in range(matrix.rows))


def _pseudo_inverse(symmetric, share=ZERO):
    values, vectors = mpmath.eigsy(symmetric)
    largest = max(abs(value) for value in values)
    inverse = [1 / value if value > share * largest else mpmath.mpf(0) for value in values]
    return vectors * mpmath.diag(inverse) * vectors.T


def _row_space(rows):
    """Orthonormal rows that span the row space."""
    values, vectors = mpmath.eigsy(rows.T * rows)
    kept = [j for j in range(len(values)) if values[j] > mpmath.mpf(10) ** -20 * max(values)]
    return mpmath.matrix([[vectors[i, j] for i in range(vectors.rows)] for j in kept])


def _row(matrix, i):
    return matrix[i, :]


def _norms(matrix):
    return [_frobenius(_row(matrix, i)) for i in range(matrix.rows)]


def _mean(values):
    return mpmath.fsum(values) / len(values)


def _variance(values, unbiased=False):
    mean = _mean(values)
    return mpmath.fsum((v - mean) ** 2 for v in values) / (len(values) - unbiased)


def _dot(a, b):
    return (a * b.T)[0, 0]


def _pairs(count):
    return [(c, d) for c in range(count) for d in range(c)]


def _etf(count):
    ones = mpmath.ones(count) / count
    return (mpmath.eye(count) - ones) / mpmath.sqrt(count - 1)


def _etf_error(product):
    return _frobenius(product / _frobenius(product) - _etf(product.rows))


def _nearest_etf(rows):
    nuclear = mpmath.fsum(_singular_values(rows.T / _frobenius(rows) * _etf(rows.rows)))
    return 2 - 2 * nuclear


class Sample:
    """Features, labels and classifier in 60 digits, with their class means and covariances.

    ``bias``: None for a classifier without one, which then counts as no part of V.
    """

    def __init__(self, features, labels, weight, bias):
        self.classes = [_matrix(features[labels == c]) for c in range(len(weight))]
        self.C, self.P, self.N = len(weight), features.shape[1], len(features)
        self.W = self.V = _matrix(weight)
        self.x = _matrix(features)
        if bias is not None:
            self.b = _matrix(bias)
            self.V = _matrix(np.column_stack([weight, bias]))
            self.x = _matrix(np.hstack([features, np.ones((len(features), 1))]))
        self.y = _matrix(np.eye(self.C)[labels])
        means = [[_mean(H[:, j]) for j in range(self.P)] for H in self.classes]
        self.means = mpmath.matrix(means)
        self.global_mean = mpmath.matrix([[_mean(self.means[:, j]) for j in range(self.P)]])
        self.M = self.means - mpmath.ones(self.C, 1) * self.global_mean
        self.scatters = []
        for c, H in enumerate(self.classes):
            D = H - mpmath.ones(H.rows, 1) * _row(self.means, c)
            self.scatters.append(D.T * D)
        self.within = sum(self.scatters[1:], self.scatters[0]) / self.N
        self.between = self.M.T * self.M / self.C


def collapse_metrics(sample):
    M, W, C = sample.M, sample.W, sample.C
    # The package counts directions of M above 1e-10 of the strongest: above its square in M^T M.
    inverse = _pseudo_inverse(sample.between, mpmath.mpf(10) ** -20)
    metrics = {"nc1": _trace(sample.within * inverse) / C}
    for name, rows in (("means", M), ("classifier", W)):
        norms = _norms(rows)
        cosines = [_dot(_row(rows, c), _row(rows, d)) / norms[c] / norms[d] for c, d in _pairs(C)]
        metrics[f"nc2_equinorm_{name}"] = mpmath.sqrt(_variance(norms, unbiased=True)) / _mean(norms)
        metrics[f"nc2_equiangular_{name}"] = mpmath.sqrt(_variance(cosines))
        metrics[f"nc2_maxangle_{name}"] = _mean([abs(cos + mpmath.mpf(1) / (C - 1)) for cos in cosines])
    metrics["nc3_self_duality"] = _frobenius(W / _frobenius(W) - M / _frobenius(M)) ** 2
    return metrics


def wider_metrics(sample):
    M, W, C = sample.M, sample.W, sample.C
    V = [_trace(S) / H.rows for S, H in zip(sample.scatters, sample.classes, strict=True)]
    apart = [_frobenius(_row(sample.means, c) - _row(sample.means, d)) for c, d in _pairs(C)]
    unit = [_row(M, c) / norm for c, norm in enumerate(_norms(M))]
    angles = [_frobenius(unit[c] - unit[d]) for c, d in _pairs(C)]
    products = [_dot(_row(W, c), _row(M, c)) for c in range(C)]
    norms = zip(_norms(W), _norms(M), strict=True)
    ranks = [(mpmath.fsum(_singular_values(H)) / _frobenius(H)) ** 2 for H in sample.classes]
    total = _pseudo_inverse(sample.within + sample.between)
    cosines = _singular_values(_row_space(W) * _row_space(M).T)
    coincide = min(apart) < mpmath.mpf(10) ** -13
    return {
        "nc1_trace_ratio": _trace(sample.within) / _trace(sample.between),
        "nc1_cdnv": mpmath.nan
        if coincide
        else _mean([(V[c] + V[d]) / (2 * r**2) for (c, d), r in zip(_pairs(C), apart, strict=True)]),
        "nc1_vci": 1 - _trace(total * sample.between) / min(sample.P, C - 1),
        "nc1_numerical_rank": _mean(ranks),
        "nc2_etf_error_means": _etf_error(M * M.T),
        "nc2_etf_error_classifier": _etf_error(W * W.T),
        "nc2_nearest_etf_means": _nearest_etf(M),
        "nc2_nearest_etf_classifier": _nearest_etf(W),
        "nc2_uniformity_distance": _variance(angles),
        "nc2_uniformity_log": mpmath.nan if coincide else _variance([-mpmath.log(d) for d in angles]),
        "nc2_row_sum": _frobenius(mpmath.ones(1, C) * W),
        "nc3_product_error": _etf_error(W * M.T),
        "nc3_cosine": _mean([p / w / m for p, (w, m) in zip(products, norms, strict=True)]),
        "nc3_uniform_duality": _variance(products, unbiased=True),
        "nc3_subspace_angle": mpmath.fsum(cosines) / (C - 1),
        "bias_collapse": _frobenius(W * sample.global_mean.T + sample.b),
        "effective_rank": _effective_rank(sample.within + sample.between),
        **_minority(sample),
        "weight_norm": _frobenius(W),
        "means_norm": _frobenius(M),
        "global_mean_norm": _frobenius(sample.global_mean),
        "bias_norm": _frobenius(sample.b),
    }


def _effective_rank(total):
    shares = [value / _trace(total) for value in mpmath.eigsy(total, eigvals_only=True)]
    return mpmath.exp(-mpmath.fsum(p * mpmath.log(p) for p in shares if p > ZERO))


def _minority(sample):
    """Angles and norms of the classes below the geometric mean of the largest and the smallest."""
    counts = [H.rows for H in sample.classes]
    few = [c for c in range(sample.C) if counts[c] ** 2 < min(counts) * max(counts)]
    many = [c for c in range(sample.C) if few and c not in few]

    def angle(rows, chosen):
        pairs = [(_row(rows, c), _row(rows, d)) for c in chosen for d in chosen if c < d]
        cosines = [_dot(a, b) / _frobenius(a) / _frobenius(b) for a, b in pairs]
        return _mean(cosines) if cosines else mpmath.nan

    norms = _norms(sample.W)
    sizes = [_mean([norms[c] for c in chosen]) if chosen else mpmath.nan for chosen in (few, many)]
    return {
        "minority_angle": angle(sample.M, few),
        "majority_angle": angle(sample.M, many),
        "minority_angle_classifier": angle(sample.W, few),
        "majority_angle_classifier": angle(sample.W, many),
        "minority_ratio": sizes[0] / sizes[1],
    }


def mse_decomposition(sample, ridge):
    """By the definitions, sample by sample; V_LS is the one of least norm where A is singular.

    ``ridge``: lambda, or (of the weight, of the bias).
    """
    x, y, N, V = sample.x, sample.y, sample.N, sample.V
    of_weight, of_bias = ridge if isinstance(ridge, tuple) else (ridge, ridge)
    penalty = mpmath.diag([*[mpmath.mpf(of_weight)] * sample.P, mpmath.mpf(of_bias)][: x.cols])
    A = x.T * x / N + penalty
    V_ls = (y.T * x / N) * _pseudo_inverse(A)
    W_ls = V_ls[:, : sample.P]
    nc1 = (_trace(W_ls * sample.within * W_ls.T) + _trace(V_ls * penalty * V_ls.T)) / 2
    nc23 = mpmath.mpf(0)
    for c, H in enumerate(sample.classes):
        error = W_ls * _row(sample.means, c).T
        if x.cols > sample.P:
            error += V_ls[:, sample.P]
        error[c] -= 1
        nc23 += _frobenius(error) ** 2 * H.rows / (2 * N)
    total = (_frobenius(x * V.T - y) ** 2 / N + _trace(V * penalty * V.T)) / 2
    perp = _trace((V - V_ls) * A * (V - V_ls).T) / 2
    return {
        "mse_total": total,
        "mse_ls": nc1 + nc23,
        "mse_nc1": nc1,
        "mse_nc23": nc23,
        "mse_perp": perp,
        "perp_share": perp / total,
        "path_distance": _frobenius(V - V_ls) / _frobenius(V_ls),
    }
