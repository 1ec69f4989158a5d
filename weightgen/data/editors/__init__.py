"""Editors: `edit(images, concept)` turns photos into the targets a translator learns (paper, step 2)."""

from weightgen.choices import Choices

EDITORS = Choices(
    "editor",
    {
        "ddim_inversion": "weightgen.data.editors.diffusion.inversion:DdimInversionEditor",
        "flux2_klein": "weightgen.data.editors.diffusion.flux2_klein:Flux2KleinEditor",
        "img2img": "weightgen.data.editors.diffusion.stable_diffusion:ImageToImageEditor",
        "instruct_pix2pix": "weightgen.data.editors.diffusion.stable_diffusion:InstructPix2PixEditor",
        "neural": "weightgen.data.editors.neural.editor:NeuralEditor",
        "premade": "weightgen.data.editors.premade.editor:PremadePairs",
        "procedural": "weightgen.data.editors.procedural.editor:ProceduralEditor",
    },
)
