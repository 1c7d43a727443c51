"""What a cell's run leaves behind, for the test that judges it and the reports that count it."""

VerdictInfo = provider(
    doc = "The verdicts of cells that this build can run.",
    fields = {
        "logs": "Depset of Files: the log of each cell, for a person.",
        "observed": "Dict from a tier to a depset of Files: what the outputs of each cell on the reference backend came to.",
        "verdicts": "Depset of Files: `verdict.json` of each cell.",
    },
)
