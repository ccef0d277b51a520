"""docs/PERFORMANCE.md out of the results of benchmark.py."""

import statistics

NAMES = {"unet6m": "U-Net, 5.9 M, 32 px", "ncsnpp": "NCSN++, 62.7 M, 64 px", "quickstart": "quickstart's U-Net, 0.5 M, 28 px"}
UNITS = {"train": "training step", "infer": "inference step", "sample": "sampling, NFE {steps}"}
CLOCKS = {"wall": "wall-clock time", "cpu": "the CPU's seconds"}
CONTESTANTS = {"sdpipe": "sdpipe", "eager": "PyTorch eager", "eager+channels_last": "eager, channels-last",
               "compile": "torch.compile"}


def ratios(row, name):
    return [theirs / ours for theirs, ours in zip(row["seconds"][name], row["seconds"]["sdpipe"])]


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


def rounds_text(row):
    return str(len(row["seconds"]["sdpipe"]))


def float32_table(rows):
    theirs = [name for name in CONTESTANTS if name != "sdpipe"]
    head = ["network", "what", "batch", "rounds", "sdpipe", *(f"{CONTESTANTS[name]} / sdpipe" for name in theirs)]
    cells = [label(name, row) + [rounds_text(row), seconds_text(statistics.median(row["seconds"]["sdpipe"])),
                                 *(ratio_text(row, their) for their in theirs)] for name, row in rows.items()]
    return table(head, cells)


def bfloat16_table(rows):
    head = ["network", "what", "batch", "rounds", "sdpipe in bfloat16", "sdpipe in float32 / that",
            "PyTorch eager in bfloat16 / that", "torch.compile in bfloat16 / that"]
    cells = []
    for name, row in rows.items():
        if "sdpipe+bfloat16" not in row["seconds"]:
            continue
        seconds = {"sdpipe": row["seconds"]["sdpipe+bfloat16"], "float32": row["seconds"]["sdpipe"]}
        seconds |= {k: v for k, v in row["seconds"].items() if k.endswith("+bfloat16") and k != "sdpipe+bfloat16"}
        narrow = {"seconds": seconds}
        cells.append(label(name, row) + [rounds_text(row), seconds_text(statistics.median(seconds["sdpipe"])),
                                         *(ratio_text(narrow, their) for their in ["float32", "eager+bfloat16", "compile+bfloat16"])])
    return table(head, cells) if cells else ""


def column_table(rows, key, text):
    head = ["network", "what", "batch", *CONTESTANTS.values()]
    cells = [label(name, row) + [text(row[key][c]) if c in row[key] else "" for c in CONTESTANTS]
             for name, row in rows.items()]
    return table(head, cells)


def agreement_table(rows):
    differences = {(NAMES[name.split(".")[0]], precision): values
                   for name, row in rows.items() for precision, values in row["differences"].items()}
    head = ["network", "precision", *next(iter(differences.values()))]
    return table(head, [[*which, *(f"{v:.1e}" for v in values.values())] for which, values in differences.items()])


def document(results):
    """Of rows that have their number of threads and their clock in common."""
    rows, machine = results["rows"], results["machine"]
    order = [f"{network}.{unit}" for network in NAMES for unit in UNITS]
    rows = {name: rows[name] for name in order if name in rows}
    one = next(iter(rows.values()))
    dates = sorted({row["date"] for row in rows.values()})
    commits = sorted({row["commit"] for row in rows.values()})
    narrow = bfloat16_table(rows)
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
        float32_table(rows),
        *(["## bfloat16\n", "Of PyTorch: autocast while training, parameters in bfloat16 and autocast at inference.\n",
           narrow] if narrow else []),
        "## Peak memory\n",
        "Of the whole process, in MiB, interpreter and libraries included.\n",
        column_table(rows, "peak_mib", lambda v: f"{v:.0f}"),
        "## Start-up\n",
        f"`sdpipe --version`: {seconds_text(start['sdpipe'])}; `python -c \"import torch\"`: "
        f"{seconds_text(start['pytorch'])}. From the start of the process to the end of its first unit, weights loaded "
        "and compiled where that is done:\n",
        column_table(rows, "first", seconds_text),
        "## Agreement\n",
        "Before anything is timed, outputs and gradients of sdpipe in each precision are compared with PyTorch's in float32 "
        "on random weights (relative difference in Euclidean norm). Above 1e-3 nothing is timed; in bfloat16 above 5e-2 of "
        "the outputs or 1e-1 of all gradients together.\n",
        agreement_table(rows),
    ]
    return "\n".join(parts)
