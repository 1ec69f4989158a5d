"""Measuring translators honestly: image scores, results tables, rivals, novelty, cost and figures."""

from weightgen.choices import Choices

FEATURES = Choices(
    "metrics",
    {
        "efficientnet": "weightgen.evaluation.features:EfficientNetLite0Features",
        "inception": "weightgen.evaluation.features:InceptionFeatures",
    },
)
