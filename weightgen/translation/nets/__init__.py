"""The image-to-image nets and the discriminator."""
