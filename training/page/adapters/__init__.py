"""The pictures of a report, drawn by matplotlib and shap: SVG of the same bytes for the same figures."""
