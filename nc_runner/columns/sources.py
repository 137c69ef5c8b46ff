"""The papers whose definitions the registry names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    authors: str
    title: str
    where: str
    link: str


SOURCES = {
    "Papyan et al. 2020": Source(
        "V. Papyan, X. Y. Han, D. L. Donoho",
        "Prevalence of neural collapse during the terminal phase of deep learning training",
        "PNAS 117(40), 2020",
        "https://arxiv.org/abs/2008.08186",
    ),
    "Han et al. 2022": Source(
        "X. Y. Han, V. Papyan, D. L. Donoho",
        "Neural collapse under MSE loss: proximity to and dynamics on the central path",
        "ICLR 2022",
        "https://arxiv.org/abs/2106.02073",
    ),
    "Tirer et al. 2023": Source(
        "T. Tirer, H. Huang, J. Niles-Weed",
        "Perturbation analysis of neural collapse",
        "ICML 2023",
        "https://arxiv.org/abs/2210.16658",
    ),
    "Galanti et al. 2021": Source(
        "T. Galanti, A. György, M. Hutter",
        "On the role of neural collapse in transfer learning",
        "ICLR 2022",
        "https://arxiv.org/abs/2112.15121",
    ),
    "Xu & Liu 2023": Source(
        "J. Xu, H. Liu",
        "Quantifying the variability collapse of neural networks",
        "ICML 2023",
        "https://arxiv.org/abs/2306.03440",
    ),
    "Markou et al. 2024": Source(
        "E. Markou, T. Ajanthan, S. Gould",
        "Guiding neural collapse: optimising towards the nearest simplex equiangular tight frame",
        "NeurIPS 2024",
        "https://arxiv.org/abs/2411.01248",
    ),
    "Zhu et al. 2021": Source(
        "Z. Zhu, T. Ding, J. Zhou, X. Li, C. You, J. Sulam, Q. Qu",
        "A geometric analysis of neural collapse with unconstrained features",
        "NeurIPS 2021",
        "https://arxiv.org/abs/2105.02375",
    ),
    "Kothapalli 2023": Source(
        "V. Kothapalli",
        "Neural collapse: a review on modelling principles and generalization",
        "TMLR 2023",
        "https://arxiv.org/abs/2206.04041",
    ),
    "Liu et al. 2023": Source(
        "W. Liu, L. Yu, A. Weller, B. Schölkopf",
        "Generalizing and decoupling neural collapse via hyperspherical uniformity gap",
        "ICLR 2023",
        "https://arxiv.org/abs/2303.06484",
    ),
    "Wu & Papyan 2024": Source(
        "R. Wu, V. Papyan",
        "Linguistic collapse: neural collapse in (large) language models",
        "NeurIPS 2024",
        "https://arxiv.org/abs/2405.17767",
    ),
    "Rangamani et al. 2023": Source(
        "A. Rangamani, M. Lindegaard, T. Galanti, T. Poggio",
        "Feature learning in deep classifiers through intermediate neural collapse",
        "ICML 2023",
        "https://proceedings.mlr.press/v202/rangamani23a.html",
    ),
    "Ammar et al. 2024": Source(
        "M. Ben Ammar, N. Belkhir, S. Popescu, A. Manzanera, G. Franchi",
        "NECO: neural collapse based out-of-distribution detection",
        "ICLR 2024",
        "https://arxiv.org/abs/2310.06823",
    ),
    "Roy & Vetterli 2007": Source(
        "O. Roy, M. Vetterli",
        "The effective rank: a measure of effective dimensionality",
        "EUSIPCO 2007",
        "https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf",
    ),
    "Fang et al. 2021": Source(
        "C. Fang, H. He, Q. Long, W. J. Su",
        "Exploring deep neural networks via layer-peeled model: minority collapse in imbalanced training",
        "PNAS 118(43), 2021",
        "https://arxiv.org/abs/2101.12699",
    ),
    "arXiv 2604.00230": Source(
        "A. P. Rupa",
        "Neural collapse dynamics: depth, activation, regularisation, and feature norm threshold",
        "arXiv, 2026",
        "https://arxiv.org/abs/2604.00230",
    ),
    "Moosavi-Dezfooli et al. 2016": Source(
        "S.-M. Moosavi-Dezfooli, A. Fawzi, P. Frossard",
        "DeepFool: a simple and accurate method to fool deep neural networks",
        "CVPR 2016",
        "https://arxiv.org/abs/1511.04599",
    ),
}
