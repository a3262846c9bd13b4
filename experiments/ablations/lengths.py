"""Rows that read a trained form at longer sequences than it was trained on."""

from studies.rows import Paper, Reevaluation, Row

LONGER = (2, 4)  # times the training length


def lengths(*forms: str) -> list[Row]:
    """Every form read at longer sequences than it was trained on, against itself at the training length; and
    the others against the first, the published form, read alike.
    """
    claim = "evaluated beyond the training length, as relative positions can be"
    rows = []
    for times in LONGER:
        group = f"Beyond the training length: {times} times as long"
        at = f", {times}x length"

        def row(form, name, against, paper=None, times=times, group=group):
            note = "the last position's row is repeated" if form.startswith("learned") else ""
            again = Reevaluation(form, longer=times)
            return Row(name, group, against, {"length": f"x{times}"}, paper, note, reevaluation=again)

        rows += [row(form, form + at, form) for form in forms]
        rows += [
            row(
                form, f"{form} against {forms[0]}{at}", forms[0] + at,
                Paper(claim, "worse", "Gopher, section 2.1") if form.startswith("learned") else None,
            )
            for form in forms[1:]
        ]  # fmt: skip
    return rows
