"""The pictures of a report as SVG, drawn by matplotlib and shap; same figures, same bytes."""
