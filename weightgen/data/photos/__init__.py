"""Photos: where they come from, how they are read and cut."""

from weightgen.choices import Choices

PHOTOS = Choices(
    "photos",
    {
        "bundled": "weightgen.data.photos.bundled:BundledPhotos",
        "folder": "weightgen.data.photos.folder:FolderPhotos",
        "hub": "weightgen.data.photos.hub:HubPhotos",
        "torchvision": "weightgen.data.photos.torchvision_sets:TorchvisionPhotos",
    },
)
SUBSETS = Choices(
    "subset",
    {
        "all": "weightgen.data.photos.subset:EveryPhoto",
        "kmeans": "weightgen.data.photos.subset:KMeansSubset",
        "random": "weightgen.data.photos.subset:RandomSubset",
    },
)
