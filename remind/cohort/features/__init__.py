"""Features of frozen networks, extracted once and kept by the content that they were made of."""
