"""Pretrained networks: the embedded one is what it claims to be, others come from files, refusals say the way out."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from healthygan.common.errors import InputError
from healthygan.nn import backbones
from healthygan.nn.backbones import EMBEDDED, Backbone, load_backbone


@pytest.fixture(scope="module")
def embedded():
    return load_backbone(size=64)


@pytest.fixture(scope="module")
def classifier():
    return backbones._build(EMBEDDED, None)


def images(count=2, channels=1, side=48):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_pooled_features_are_the_mean_of_the_last_map(embedded):
    x = images()
    (last,) = embedded.features(x, [-1])
    assert embedded.pooled(x).shape == (2, 1280)
    torch.testing.assert_close(embedded.pooled(x), last.mean(dim=(2, 3)))


def test_layers_come_in_the_order_asked_for_with_the_channels_promised(embedded):
    found = embedded.features(images(), [3, 0, -1])
    assert [tuple(part.shape) for part in found] == [(2, 112, 4, 4), (2, 16, 32, 32), (2, 1280, 2, 2)]
    assert embedded.channels == (16, 24, 40, 112, 320, 1280)
    (alone,) = embedded.features(images(), [3])  # computed without what lies behind it
    torch.testing.assert_close(alone, found[0])


def test_grey_is_colour_with_three_equal_channels(embedded):
    x = images()
    torch.testing.assert_close(embedded.pooled(x), embedded.pooled(x.expand(-1, 3, -1, -1)))


def test_the_network_sees_its_own_normalisation():
    backbone = Backbone("resnet10t", 32)
    seen = backbone._seen(torch.ones(1, 1, 32, 32))[0, :, 0, 0]
    torch.testing.assert_close(seen, torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]))


def test_an_image_s_features_do_not_depend_on_its_company(embedded):
    x = images(3)
    torch.testing.assert_close(embedded.pooled(x)[1:2], embedded.pooled(x[1:2]), rtol=1e-4, atol=1e-5)


def test_nothing_of_a_backbone_learns(embedded):
    assert not embedded.training
    assert not any(weight.requires_grad for weight in embedded.parameters())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto"])
def test_transformers_and_others_give_maps_too(name):
    backbone = Backbone(name, 64 if "swin" not in name else 224)
    for layer, part in enumerate(backbone.features(images(1), range(len(backbone.channels)))):
        assert part.shape[:2] == (1, backbone.channels[layer])
        assert part.shape[2] == part.shape[3] > 1


def test_a_wrong_order_of_the_embedded_tensors_cannot_pass(classifier):
    state = backbones.embedded_state()
    shuffled = dict(reversed(state.items()))
    with pytest.raises(InputError, match="does not hold the 296 tensors"):
        backbones.match_in_order(shuffled, classifier.state_dict(), "weights.pth")
    with pytest.raises(InputError, match="does not hold the 296 tensors"):
        backbones.match_in_order(dict([*state.items()][:-1]), classifier.state_dict(), "weights.pth")
    # Equal in shape, but a scale is no mean.
    names = [*state]
    names[1], names[3] = names[3], names[1]
    renamed = dict(zip(names, state.values(), strict=True))
    with pytest.raises(InputError, match="does not hold the 296 tensors"):
        backbones.match_in_order(renamed, classifier.state_dict(), "weights.pth")


def test_blocks_that_changed_places_are_noticed_by_what_the_network_sees(classifier):
    state = backbones.embedded_state()
    one, other = "blocks.5.1.bn2.", "blocks.5.2.bn2."
    parts = ("weight", "bias", "running_mean", "running_var")
    state |= {one + part: state[other + part] for part in parts} | {other + part: state[one + part] for part in parts}
    classifier.load_state_dict(state)
    with pytest.raises(InputError, match=r"weights.pth: gives a network that does not see"):
        backbones.check_recognises(classifier, "weights.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_another_network_are_read_from_a_file_without_its_classifier(tmp_path, suffix):
    source = backbones._build("resnet10t", None)
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(source.state_dict(), path)
    backbone = load_backbone("resnet10t", path, size=32)
    source.eval()
    expected = source.forward_head(source.forward_features(backbone._seen(images())), pre_logits=True)
    torch.testing.assert_close(backbone.pooled(images()), expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_other_weights_or_of_none_is_refused_by_name(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"other.safetensors: does not fit the model") as caught:
        load_backbone("resnet10t", path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"other.safetensors: damaged"):
        load_backbone("resnet10t", path)
    with pytest.raises(InputError, match=r"absent.pth: no such file"):
        load_backbone("resnet10t", tmp_path / "absent.pth")


def test_a_pickle_that_would_run_code_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"state_dict": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(InputError, match=r"hostile.pth: damaged.*nothing in it was run"):
        load_backbone("resnet10t", tmp_path / "hostile.pth")
    assert not (tmp_path / "ran").exists()


def test_without_weights_both_ways_out_are_named():
    with pytest.raises(InputError, match=r"resnet10t: .*weights=FILE.*download=true"):
        load_backbone("resnet10t")


def test_without_a_network_both_ways_out_are_named(monkeypatch):
    import timm

    real = timm.create_model

    def offline(name, *, pretrained=False, **options):
        if pretrained:
            raise OSError("no route\nto host")
        return real(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"cannot be downloaded \(no route to host\).*weights=FILE.*download=true"):
        load_backbone("resnet10t", download=True)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        Backbone("resnet_18")


def test_a_layer_that_is_not_there_is_refused_by_number(embedded):
    embedded.check_layers([0, -6, 5])
    with pytest.raises(InputError, match="layer 6: tf_efficientnet_lite0 has the layers 0 to 5"):
        embedded.check_layers([6])


def test_the_command_line_does_not_wait_for_timm():
    code = "import sys, healthygan.nn.backbones, healthygan.cli.main; assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
