# make demo   sample, judge and tabulate SD and LiVO on the bias task of the miniature world
# make test   lint, type check and tests
# make docs   build the docs as a site in site/, and fail where a page or a link is missing
# make results   remake the committed reference in results/mini
# make flow      remake what the second miniature model gives, in results/mini-flow
# make sweep     train what Figure 3 shows, two trainings at a time, in about an hour
# make explain   measure what the quirks of the released evaluation move, on what make results made
# Each installs .venv first when it is missing or older than what it is made from.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
METHODS := sd fd fd:detect ca uce uce:joint rece esd esd:strict esd:u \
           selective-amnesia forget-me-not debias-vl prompt-tuning safree safree:subset dapt diffusion-dpo \
           diffusion-dpo:lora reward-weighted dpo dpo:d livo livo:retrieved livo:wo-v livo:wo-m \
           livo:all livo:calibrated sld sld:subset negative negative:subset detoxified attributes \
           noise

# Many containers set it; each process would then compile torch and transformers anew, for 20 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint docs results flow sweep explain

demo: $(INSTALLED)
	$(BIN)/livo-bench run --method sd --method livo --task bias
	$(BIN)/livo-bench report --table 2

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the variable silences is a notice of the theme on what its next years bring.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

results: $(INSTALLED)
	$(BIN)/livo-bench run $(METHODS:%=--method %) --task all --independent-reference
	$(BIN)/livo-bench run $(METHODS:%=--method %) --task overcorrection
	cp -r results/runs/mini/. results/mini/

flow: $(INSTALLED)
	$(BIN)/livo-bench run --model mini-flow --task all --independent-reference \
	  --method sd --method attributes --method negative --method livo --method dpo \
	  --method weights --weights weights=benchmarks/weights/balanced-lora.safetensors
	mkdir -p results/mini-flow && cp -r results/runs/mini-flow/. results/mini-flow/

sweep: $(INSTALLED)
	$(BIN)/python benchmarks/sweep.py --worker 1/2 & first=$$!; \
	$(BIN)/python benchmarks/sweep.py --worker 2/2 && wait $$first

explain: $(INSTALLED)
	$(BIN)/python benchmarks/explain.py

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "livo-bench needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	       "Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@if command -v uv >/dev/null; then \
	  test -x $(BIN)/python || uv venv --python $(PYTHON) .venv; \
	else \
	  test -x $(BIN)/uv || { \
	    $(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q -c constraints.txt uv; }; \
	fi
	@PATH="$$PATH:$(CURDIR)/$(BIN)" \
	  uv pip install --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@
