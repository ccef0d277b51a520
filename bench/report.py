"""docs/PERFORMANCE.md out of the results of benchmark.py."""

import statistics

NAMES = {"unet6m": "U-Net, 5.9 M, 32 px", "ncsnpp": "NCSN++, 62.7 M, 64 px", "quickstart": "quickstart's U-Net, 0.5 M, 28 px"}
UNITS = {"train": "training step", "infer": "inference step", "sample": "sampling, NFE {steps}"}
CLOCKS = {"wall": "wall-clock time", "cpu": "the CPU's seconds"}
GROUPS = ["rows", "bfloat16"]  # of the results; the first are in float32
CONTESTANTS = {"sdpipe": "sdpipe", "eager": "PyTorch eager", "eager+channels_last": "eager, channels-last",
               "compile": "torch.compile"}
NARROW = {"sdpipe+bfloat16": "sdpipe", "sdpipe": "sdpipe in float32", "eager+bfloat16": "PyTorch eager",
          "compile+bfloat16": "torch.compile"}


def ours(row):
    """The contestant that the others are compared with."""
    return next(iter(row["seconds"]))


def ratios(row, name):
    return [theirs / its for theirs, its in zip(row["seconds"][name], row["seconds"][ours(row)])]


def ratio_text(row, name):
    """Median (least to most)."""
    if name not in row["seconds"]:
        return ""
    values = ratios(row, name)
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def seconds_text(value):
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def table(head, rows):
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def label(name, row):
    network, unit = name.split(".")
    return [NAMES[network], UNITS[unit].format(**row), str(row["batch"])]


def time_table(rows, contestants):
    """Ours first, in seconds; ratios of the others."""
    first, *others = contestants
    head = ["network", "what", "batch", "rounds", contestants[first],
            *(f"{contestants[name]} / {contestants[first]}" for name in others)]
    cells = []
    for name, row in rows.items():
        seconds = row["seconds"][first]
        cells.append(label(name, row) + [str(len(seconds)), seconds_text(statistics.median(seconds)),
                                         *(ratio_text(row, other) for other in others)])
    return table(head, cells)


def column_table(rows, contestants, key, text):
    head = ["network", "what", "batch", *contestants.values()]
    cells = [label(name, row) + [text(row[key][c]) if c in row[key] else "" for c in contestants]
             for name, row in rows.items()]
    return table(head, cells)


def agreement_table(all_rows):
    differences = {(NAMES[name.split(".")[0]], precision): values
                   for name, row in all_rows for precision, values in row["differences"].items()}
    head = ["network", "precision", *next(iter(differences.values()))]
    return table(head, [[*which, *(f"{v:.1e}" for v in values.values())] for which, values in differences.items()])


def document(results):
    """Of rows that have their number of threads and their clock in common."""
    machine = results["machine"]
    order = [f"{network}.{unit}" for network in NAMES for unit in UNITS]
    rows, narrow = ({name: results[group][name] for name in order if name in results[group]} for group in GROUPS)
    all_rows = [*narrow.items(), *rows.items()]  # what both have measured of float32 is that of float32's
    _, one = all_rows[0]
    dates = sorted({row["date"] for _, row in all_rows})
    commits = sorted({row["commit"] for _, row in all_rows})
    start = results["start_up"]
    parts = [
        "# Performance\n\nWritten by `./script/benchmark`; figures are of this machine and of nothing else:\n",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['vector']}; PyTorch {machine['torch']}, Python "
        f"{machine['python']}; threads: {one['threads']}, {CLOCKS[one['clock']]}; measured "
        f"{' and '.join({dates[0]: 0, dates[-1]: 0})} at commit {', '.join(commits)} (+: changed).\n",
        "Both sides have the same network, weights, batch and number of threads, the same version of LibTorch below them, "
        "and the same settings of glibc's allocator, which sdpipe makes itself and PyTorch gets by its environment; neither "
        "reads ahead in other threads. They are processes of their own that compute in turn, the same number of units in a "
        "round each: as many as take sdpipe one and a half seconds, at least one. A ratio is PyTorch's time over sdpipe's in "
        "the same round, given as median (least to most) over the rounds: above 1, sdpipe is faster. A row that takes long "
        "has fewer rounds. A training step is loading a batch, drawing t and noise, forward, loss, backward, clipping, Adam "
        "and the moving average; PyTorch's has fused Adam and foreach clipping and averaging.\n",
        "sdpipe's networks are channels-last inside. PyTorch's are contiguous: NCSN++ in the form its authors published "
        "(bench/ncsnpp.py), the U-Nets, of which no other form is published, as twins of sdpipe's own (bench/unet.py). Under "
        "\"channels-last\" the same network and its inputs have that format instead; sampling is not measured so.\n",
        "## float32\n",
        time_table(rows, CONTESTANTS),
        *(["## bfloat16\n", "Of PyTorch: autocast while training, parameters in bfloat16 and autocast at inference. Of "
           "sdpipe: 3 x 3 convolutions in float32, from and to bfloat16, where Winograd's form of them is faster so. Where "
           "the CPU has no products in bfloat16, the rest takes LibTorch many times as long as in float32. "
           "sdpipe in float32 is measured again beside: times are compared within a round, not from one table to the "
           "other.\n",
           time_table(narrow, NARROW)] if narrow else []),
        "## Peak memory\n",
        "Of the whole process, in MiB, interpreter and libraries included.\n",
        column_table(rows, CONTESTANTS, "peak_mib", lambda v: f"{v:.0f}"),
        *(["In bfloat16:\n", column_table(narrow, NARROW, "peak_mib", lambda v: f"{v:.0f}")] if narrow else []),
        "## Start-up\n",
        f"`sdpipe --version`: {seconds_text(start['sdpipe'])}; `python -c \"import torch\"`: "
        f"{seconds_text(start['pytorch'])}. From the start of the process to the end of its first unit, weights loaded "
        "and compiled where that is done:\n",
        column_table(rows, CONTESTANTS, "first", seconds_text),
        "## Agreement\n",
        "Before anything is timed, outputs and gradients of sdpipe in each precision are compared with PyTorch's in float32 "
        "on random weights (relative difference in Euclidean norm). Above 1e-3 nothing is timed; in bfloat16 above 5e-2 of "
        "the outputs or 1e-1 of all gradients together.\n",
        agreement_table(all_rows),
    ]
    return "\n".join(parts)
