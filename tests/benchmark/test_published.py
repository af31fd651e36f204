"""The paper's figures are those of its table 1, for the methods that are in it."""

from healthygan.benchmark import published


def test_healthygan_on_covidx_and_migraine() -> None:
    assert published.published_results("covidx", "healthygan") == ((0.84, 0.76, 0.76, 0.76, 0.76),)
    assert published.published_results("migraine", "healthygan") == ((0.75, 0.78, 0.70, 0.80, 0.74),)


def test_patchcore_and_padim_get_both_columns_that_may_be_theirs() -> None:
    both = published.published_results("covidx", "padim")
    assert both == published.published_results("covidx", "patchcore")
    assert [values[0] for values in both] == [0.56, 0.52]


def test_methods_that_are_not_in_the_paper_have_none() -> None:
    assert published.published_results("chestxray14", "ddad") == ()


def test_rates_agree_with_each_other_within_rounding() -> None:
    for cohort in published.PAPERS:
        for method in ("alad", "alocc", "fanogan", "ganomaly", "padim", "healthygan"):
            for _, precision, recall, specificity, f1 in published.published_results(cohort, method):
                assert abs(2 * precision * recall / (precision + recall) - f1) < 0.02
                # Test sets hold as many diseased as healthy images: precision follows from the other two.
                assert abs(recall / (recall + 1 - specificity) - precision) < 0.03
