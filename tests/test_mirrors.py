"""Places elsewhere as folders of sparse files."""

from mother.hub import mirrors


def test_a_folder_that_is_still_being_removed_is_not_in_the_way():
    place = "0" * 32, "bucket", "models"
    gone = mirrors.spool().joinpath(*place)
    gone.mkdir(parents=True)
    (gone / "a.npz").touch()
    listed = {"a.npz": mirrors.Entry(3)}
    made = mirrors.mirror("s3://bucket/models", place, listed, lambda *_: None)
    assert made.root != gone
    assert (made.root / "a.npz").stat().st_size == 3
    assert mirrors.shown(made.root / "a.npz") == "s3://bucket/models/a.npz"
    assert mirrors.mirror("s3://bucket/models", place, listed, lambda *_: None) is made
