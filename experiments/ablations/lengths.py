"""Rows that read a trained form at longer sequences than it was trained on."""

from studies.rows import Paper, Reevaluation, Row

LONGER = (2, 4)  # times the training length


def lengths(*forms: str, relative: bool) -> list[Row]:
    """Every form read at longer sequences than it was trained on, against itself at the training length; and
    the others against the first, the published form, read alike.

    relative: whether the published form has relative positions. Of these Gopher says that they can be read
    beyond the training length, so that learned ones should lose more there than they do at it.
    """
    claim = Paper(
        "evaluated beyond the training length, as relative positions can be", "worse", "Gopher, section 2.1"
    )
    rows = []
    for times in LONGER:
        group = f"Beyond the training length: {times} times as long"
        at = f", {times}x length"

        def row(form, name, against, times=times, group=group, **claimed):
            note = "the last position's row is repeated" if form.startswith("learned") else ""
            again = Reevaluation(form, longer=times)
            return Row(
                name, group, against, {"length": f"x{times}"}, note=note, reevaluation=again, **claimed
            )

        rows += [row(form, form + at, form) for form in forms]
        for form in forms[1:]:
            claimed = {"paper": claim, "interaction": form} if relative and form.startswith("learned") else {}
            rows.append(row(form, f"{form} against {forms[0]}{at}", forms[0] + at, **claimed))
    return rows
