"""The documentation site: pages made from the code, and what its build adds. scripts/docs.sh builds it."""
