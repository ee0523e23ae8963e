import pytest

from sciml.simulate.recipe import make_recipe, recipe_names


def test_recipes_are_found_by_listing_the_folder():
    assert "fno_navier_stokes" in recipe_names()
    for name in recipe_names():
        recipe = make_recipe(name)
        assert recipe.name == name
        # Parameters with every default filled in rebuild the same recipe.
        assert make_recipe(name, **recipe.parameters) == recipe


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(
        ValueError, match=r"recipes \[.*\], got 'fno_navierstokes'; did you mean"
    ):
        make_recipe("fno_navierstokes")
    with pytest.raises(ValueError, match="got 'zzz'; choose one of them"):
        make_recipe("zzz")
    with pytest.raises(ValueError, match="got 'viscocity'; did you mean 'viscosity'"):
        make_recipe("fno_navier_stokes", viscocity=1e-3)


@pytest.mark.parametrize(
    ("parameter", "value", "error", "message"),
    [
        ("viscosity", "thick", TypeError, "'viscosity': expected float, got str 'thick'"),
        ("resolution", 32.5, TypeError, "'resolution': expected int, got float 32.5"),
        ("resolution", True, TypeError, "'resolution': expected int, got bool True"),
        ("solver_resolution", "64", TypeError, "'solver_resolution': expected int, got str"),
        ("viscosity", float("nan"), ValueError, "'viscosity': expected a finite number"),
        ("variant", "legcy", ValueError, "got 'legcy'; did you mean 'legacy'"),
    ],
)
def test_values_are_checked(parameter, value, error, message):
    with pytest.raises(error, match=message):
        make_recipe("fno_navier_stokes", **{parameter: value})


def test_none_is_accepted_where_annotated():
    assert (
        make_recipe("fno_navier_stokes", resolution=8, solver_resolution=None).parameters[
            "solver_resolution"
        ]
        == 8
    )
