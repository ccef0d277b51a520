"""Libraries that stand in for CUDA's where those are missing.

    stand_ins.py TORCH FOLDER

The Python part of a CUDA wheel of PyTorch links gigabytes of CUDA libraries, none of which is called on the CPU. For
each that the dynamic linker does not find, FOLDER gets one of its name whose functions do nothing: enough to be loaded.
"""

import pathlib
import re
import subprocess
import sys


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    torch, folder = map(pathlib.Path, sys.argv[1:])
    folder.mkdir()
    libraries = sorted(torch.glob("lib/lib*.so"))
    linked = output("ldd", torch / "lib/libtorch_python.so")
    missing = sorted(set(re.findall(r"^\s*(\S+) => not found$", linked, re.MULTILINE)))
    # "name" or "name@VERSION", and which library a version belongs to.
    undefined = set(re.findall(r" U (\S+)", "".join(output("nm", "-D", "-u", library) for library in libraries)))
    needed = "".join(output("readelf", "-VW", library) for library in libraries)
    versions = {}
    for name, entries in re.findall(r"File: (\S+)\s+Cnt: \d+\n((?:.*Name: .*\n)*)", needed):
        versions.setdefault(name, set()).update(re.findall(r"Name: (\S+)", entries))
    for name in missing:
        nodes = {v: [s.split("@")[0] for s in undefined if s.endswith("@" + v)] for v in versions.get(name, ())}
        symbols = sum(nodes.values(), []) or [s for s in undefined if re.match(r"(cu|nv|nccl)[A-Za-z]+[^@]*$", s)]
        source, script = folder / "stand_in.c", folder / "stand_in.map"
        source.write_text("".join(f"void {s}(void) {{}}\n" for s in sorted(set(symbols))))
        script.write_text("".join(f"{v} {{ global: {' '.join(f'{s};' for s in names)} }};\n" for v, names in nodes.items()))
        options = [f"-Wl,--version-script={script}"] if nodes else []
        subprocess.run(["cc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{name}", *options, source, "-o", folder / name],
                       check=True)
        source.unlink()
        script.unlink()


if __name__ == "__main__":
    main()
