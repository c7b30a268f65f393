import itertools

from regulo.draws import generator, sample_seed, torch_seed


def test_draws_are_a_pure_function_of_their_place() -> None:
    assert generator(1, 0, 5, "mixup").random() == generator(1, 0, 5, "mixup").random()
    assert sample_seed(1, 2, 3) == sample_seed(1, 2, 3)


def test_draws_differ_between_seeds_ranks_steps_and_names() -> None:
    places = itertools.product([0, 1], [0, 1], [0, 1, 2], ["mixup", "cutmix"])
    assert len({generator(*place).random() for place in places}) == 24
    assert len({sample_seed(s, e, i) for s, e, i in itertools.product(range(3), range(3), range(100))}) == 900
    assert len({torch_seed(*place) for place in itertools.product(range(5), range(5), range(5))}) == 125
