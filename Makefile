# Everything that anyone types. Each target sets up .venv by itself, from the lock and nothing else.

UV_VERSION = 0.13.8
AUDIT_VERSION = 2.10.0
BIN = .venv/bin
READY = .venv/.ready

# Compiled modules halve the time of every command; where they are switched off, switch them on for .venv.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help book chapter compare test look pdf check audit lab hooks lock release clean

help:
	@echo "make book [PROFILE=live]              the book of the records; with PROFILE=live all of it is trained here"
	@echo "make chapter NAME=convergence ARGS=\"-p seeds=[0,1]\"   one chapter, other parameters"
	@echo "make compare NAME=convergence SETS=\"steps=30 steps=60\"   one chapter, several sets of parameters, side by side"
	@echo "make test [ARGS=...]                  the tests"
	@echo "make look                             the built book in Chromium: links, errors, phones, accessibility"
	@echo "make pdf                              the built book as one PDF"
	@echo "make check                            style and types"
	@echo "make audit                            known vulnerabilities of the locked versions"
	@echo "make lab                              JupyterLab on copies of the chapters in lab/; one that you delete comes back"
	@echo "make hooks                            check every commit before it is made"
	@echo "make lock [ARGS=--upgrade]            requirements.lock from pyproject.toml"
	@echo "make release                          the built book, the package and their checksums, in build/release"
	@echo "make clean                            remove build/ and caches; runs (.store) and .venv stay"

book: $(READY)
	@$(BIN)/transfusion book $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

chapter: $(READY)
	@$(BIN)/transfusion chapter $(NAME) $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

compare: $(READY)
	@$(BIN)/transfusion compare $(NAME) $(SETS) $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

test: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 $(ARGS)

look: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 -m browser tests/test_reader.py tests/test_pdf.py $(ARGS)

pdf: $(READY)
	@$(BIN)/transfusion pdf

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(READY)
	$(BIN)/uvx pip-audit@$(AUDIT_VERSION) --requirement requirements.lock --require-hashes --disable-pip

hooks: $(READY)
	$(BIN)/pre-commit install

# The same book gives the same archive: sorted names, no times, no owners.
release: $(READY)
	@test -f build/book/build.json || { echo "No book to release: make book" >&2; exit 2; }
	@mkdir -p build/release
	@profile=$$($(BIN)/python -c 'import json; print(json.load(open("build/book/build.json"))["profile"])'); \
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - -C build/book html | \
	  gzip -n > build/release/book-$$profile.tar.gz
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir build/release
	@cd build/release && rm -f .gitignore SHA256SUMS && sha256sum * > SHA256SUMS && cat SHA256SUMS

# Copies: autosave changes neither the repository nor what the builder executes. What you edited stays yours.
lab: $(READY)
	@mkdir -p lab
	@for file in notebooks/*.ipynb; do test -e "lab/$${file##*/}" || cp "$$file" lab/; done
	@$(BIN)/jupyter lab lab

# Existing pins stay unless ARGS=--upgrade. The lock names no index: uv takes it from its own configuration.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --quiet --output-file requirements.lock $(ARGS)

clean:
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	@found=; for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	    2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python 3.11, 3.12 or 3.13 with venv found. Install one (Debian, Ubuntu: apt install python3-venv)," >&2; \
	  echo "or say where one is: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; \
	fi; \
	$(BIN)/python -c pass 2>/dev/null || { echo "Creating .venv with $$($$found --version)"; $$found -m venv .venv; }
	@echo "Installing requirements.lock into .venv: about 7 GB on disk, a minute or two on a fast line"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)
