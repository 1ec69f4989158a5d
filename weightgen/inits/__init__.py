"""Where a new concept's weights may start."""

from weightgen.choices import Choices

INITS = Choices(
    "init.kind",
    {
        "e2gan": "weightgen.inits.base:ZeroInit",
        "few_steps": "weightgen.inits.pairs:FewStepsInit",
        "generated_best_of": "weightgen.inits.generated:GeneratedBestOfInit",
        "text_to_weights": "weightgen.inits.generated:TextToWeightsInit",
        "generated": "weightgen.inits.generated:GeneratedInit",
        "generated_few_steps": "weightgen.inits.generated:GeneratedFewStepsInit",
        "generated_gibberish": "weightgen.inits.generated:GibberishPromptInit",
        "generated_shuffled": "weightgen.inits.generated:ShuffledPromptInit",
        "guided": "weightgen.inits.generated:GuidedInit",
        "mean": "weightgen.inits.zoo:MeanInit",
        "mlp": "weightgen.inits.regression:MlpInit",
        "nearest": "weightgen.inits.zoo:NearestInit",
        "nearest_k": "weightgen.inits.zoo:NearestKInit",
        "noised_nearest": "weightgen.inits.zoo:NoisedNearestInit",
        "pca_gaussian": "weightgen.inits.zoo:PcaGaussianInit",
        "pix2pix": "weightgen.inits.scratch:Pix2PixInit",
        "pix2pix_zero_distilled": "weightgen.inits.scratch:Pix2PixZeroDistilledInit",
        "ridge": "weightgen.inits.regression:RidgeInit",
        "text_base": "weightgen.inits.base:TextBaseInit",
        "trained": "weightgen.inits.base:TrainedInit",
    },
)
