"""Where a new concept's weights may start."""

from weightgen.choices import Choices

INITS = Choices(
    "init.kind",
    {
        "e2gan": "weightgen.inits.base:ZeroInit",
        "few_steps": "weightgen.inits.zoo:FewStepsInit",
        "generated": "weightgen.inits.base:GeneratedInit",
        "generated_few_steps": "weightgen.inits.zoo:GeneratedFewStepsInit",
        "generated_shuffled": "weightgen.inits.zoo:ShuffledPromptInit",
        "guided": "weightgen.inits.base:GuidedInit",
        "mean": "weightgen.inits.base:MeanInit",
        "mlp": "weightgen.inits.regression:MlpInit",
        "nearest": "weightgen.inits.base:NearestInit",
        "nearest_k": "weightgen.inits.zoo:NearestKInit",
        "noised_nearest": "weightgen.inits.zoo:NoisedNearestInit",
        "pca_gaussian": "weightgen.inits.zoo:PcaGaussianInit",
        "pix2pix": "weightgen.inits.base:Pix2PixInit",
        "pix2pix_zero_distilled": "weightgen.inits.zoo:Pix2PixZeroDistilledInit",
        "ridge": "weightgen.inits.regression:RidgeInit",
        "text_base": "weightgen.inits.zoo:TextBaseInit",
        "trained": "weightgen.inits.base:TrainedInit",
    },
)
