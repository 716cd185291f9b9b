import torch

from reliquant.models.embedded import Embedded


def test_logits_are_scaled_cosines_of_every_image_with_every_caption_plus_the_bias():
    image = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    batch = Embedded(image, text, torch.tensor(10.0), torch.tensor(-1.0), torch.arange(3))
    expected = torch.tensor([[9.0, -1.0, 7.0], [5.0, 7.0, 8.6]])  # 10 x cosine - 1; rows are images
    torch.testing.assert_close(batch.logits, expected)
