"""The keys of one pipeline, to compare with another's."""

from experiments.pipeline.build import Pipeline


def keys(p: Pipeline) -> dict[str, str]:
    concept = p.test_concepts[0]
    specs = {
        "photos": p.photos,
        "pairs": p.pairs(concept),
        "base": p.base_spec,
        "lora": p.lora(p.split("train")[0]),
        "blocks": p.blocks,
        "denoiser": p.denoiser,
        "init": p.init("generated", concept, 0),
        "finetune": p.finetune("generated", concept, 0),
        "scratch": p.finetune("pix2pix", concept, 0),
    }
    return {name: spec.key for name, spec in specs.items()}
