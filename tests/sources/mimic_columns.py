"""Columns of the real MIMIC-IV tables and the items that the generated release measures."""

COLUMNS: dict[str, str] = {
    "hosp/admissions": (
        "subject_id hadm_id admittime dischtime deathtime admission_type admit_provider_id "
        "admission_location discharge_location insurance language marital_status race edregtime "
        "edouttime hospital_expire_flag"
    ),
    "hosp/d_hcpcs": "code category long_description short_description",
    "hosp/d_icd_diagnoses": "icd_code icd_version long_title",
    "hosp/d_icd_procedures": "icd_code icd_version long_title",
    "hosp/d_labitems": "itemid label fluid category",
    "hosp/diagnoses_icd": "subject_id hadm_id seq_num icd_code icd_version",
    "hosp/drgcodes": "subject_id hadm_id drg_type drg_code description drg_severity drg_mortality",
    "hosp/emar": (
        "subject_id hadm_id emar_id emar_seq poe_id pharmacy_id enter_provider_id charttime "
        "medication event_txt scheduletime storetime"
    ),
    "hosp/emar_detail": (
        "subject_id emar_id emar_seq parent_field_ordinal administration_type pharmacy_id "
        "barcode_type reason_for_no_barcode complete_dose_not_given dose_due dose_due_unit "
        "dose_given dose_given_unit will_remainder_of_dose_be_given product_amount_given "
        "product_unit product_code product_description product_description_other "
        "prior_infusion_rate infusion_rate infusion_rate_adjustment "
        "infusion_rate_adjustment_amount infusion_rate_unit route infusion_complete "
        "completion_interval new_iv_bag_hung continued_infusion_in_other_location "
        "restart_interval side site non_formulary_visual_verification"
    ),
    "hosp/hcpcsevents": "subject_id hadm_id chartdate hcpcs_cd seq_num short_description",
    "hosp/labevents": (
        "labevent_id subject_id hadm_id specimen_id itemid order_provider_id charttime "
        "storetime value valuenum valueuom ref_range_lower ref_range_upper flag priority "
        "comments"
    ),
    "hosp/microbiologyevents": (
        "microevent_id subject_id hadm_id micro_specimen_id order_provider_id chartdate "
        "charttime spec_itemid spec_type_desc test_seq storedate storetime test_itemid "
        "test_name org_itemid org_name isolate_num quantity ab_itemid ab_name dilution_text "
        "dilution_comparison dilution_value interpretation comments"
    ),
    "hosp/omr": "subject_id chartdate seq_num result_name result_value",
    "hosp/patients": "subject_id gender anchor_age anchor_year anchor_year_group dod",
    "hosp/pharmacy": (
        "subject_id hadm_id pharmacy_id poe_id starttime stoptime medication proc_type status "
        "entertime verifiedtime route frequency disp_sched infusion_type sliding_scale "
        "lockout_interval basal_rate one_hr_max doses_per_24_hrs duration duration_interval "
        "expiration_value expiration_unit expirationdate dispensation fill_quantity"
    ),
    "hosp/poe": (
        "poe_id poe_seq subject_id hadm_id ordertime order_type order_subtype transaction_type "
        "discontinue_of_poe_id discontinued_by_poe_id order_provider_id order_status"
    ),
    "hosp/poe_detail": "poe_id poe_seq subject_id field_name field_value",
    "hosp/prescriptions": (
        "subject_id hadm_id pharmacy_id poe_id poe_seq order_provider_id starttime stoptime "
        "drug_type drug formulary_drug_cd gsn ndc prod_strength form_rx dose_val_rx "
        "dose_unit_rx form_val_disp form_unit_disp doses_per_24_hrs route"
    ),
    "hosp/procedures_icd": "subject_id hadm_id seq_num chartdate icd_code icd_version",
    "hosp/provider": "provider_id",
    "hosp/services": "subject_id hadm_id transfertime prev_service curr_service",
    "hosp/transfers": "subject_id hadm_id transfer_id eventtype careunit intime outtime",
    "icu/caregiver": "caregiver_id",
    "icu/chartevents": (
        "subject_id hadm_id stay_id caregiver_id charttime storetime itemid value valuenum "
        "valueuom warning"
    ),
    "icu/d_items": (
        "itemid label abbreviation linksto category unitname param_type lownormalvalue "
        "highnormalvalue"
    ),
    "icu/datetimeevents": (
        "subject_id hadm_id stay_id caregiver_id charttime storetime itemid value valueuom warning"
    ),
    "icu/icustays": "subject_id hadm_id stay_id first_careunit last_careunit intime outtime los",
    "icu/ingredientevents": (
        "subject_id hadm_id stay_id caregiver_id starttime endtime storetime itemid amount "
        "amountuom rate rateuom orderid linkorderid statusdescription originalamount "
        "originalrate"
    ),
    "icu/inputevents": (
        "subject_id hadm_id stay_id caregiver_id starttime endtime storetime itemid amount "
        "amountuom rate rateuom orderid linkorderid ordercategoryname "
        "secondaryordercategoryname ordercomponenttypedescription ordercategorydescription "
        "patientweight totalamount totalamountuom isopenbag continueinnextdept "
        "statusdescription originalamount originalrate"
    ),
    "icu/outputevents": (
        "subject_id hadm_id stay_id caregiver_id charttime storetime itemid value valueuom"
    ),
    "icu/procedureevents": (
        "subject_id hadm_id stay_id caregiver_id starttime endtime storetime itemid value "
        "valueuom location locationcategory orderid linkorderid ordercategoryname "
        "ordercategorydescription patientweight isopenbag continueinnextdept statusdescription "
        "originalamount originalrate"
    ),
    "ed/diagnosis": "subject_id stay_id seq_num icd_code icd_version icd_title",
    "ed/edstays": (
        "subject_id hadm_id stay_id intime outtime gender race arrival_transport disposition"
    ),
    "ed/medrecon": "subject_id stay_id charttime name gsn ndc etc_rn etccode etcdescription",
    "ed/pyxis": "subject_id stay_id charttime med_rn name gsn_rn gsn",
    "ed/triage": (
        "subject_id stay_id temperature heartrate resprate o2sat sbp dbp pain acuity chiefcomplaint"
    ),
    "ed/vitalsign": (
        "subject_id stay_id charttime temperature heartrate resprate o2sat sbp dbp rhythm pain"
    ),
    "note/discharge": "note_id subject_id hadm_id note_type note_seq charttime storetime text",
    "note/discharge_detail": "note_id subject_id field_name field_value field_ordinal",
    "note/radiology": "note_id subject_id hadm_id note_type note_seq charttime storetime text",
    "note/radiology_detail": "note_id subject_id field_name field_value field_ordinal",
}
"""Table → its columns as release 3.1 has them (the demo and the documentation of each module)."""

# itemid: (label, fluid, category, unit, mean, change per unit of severity, spread)
LABS: dict[int, tuple[str, str, str, str, float, float, float]] = {
    50813: ("Lactate", "Blood", "Blood Gas", "mmol/L", 2.0, 1.2, 0.4),
    50820: ("pH", "Blood", "Blood Gas", "units", 7.36, -0.06, 0.03),
    50818: ("pCO2", "Blood", "Blood Gas", "mm Hg", 42.0, 3.0, 5.0),
    50821: ("pO2", "Blood", "Blood Gas", "mm Hg", 110.0, -15.0, 15.0),
    51222: ("Hemoglobin", "Blood", "Hematology", "g/dL", 10.8, -0.7, 1.0),
    51221: ("Hematocrit", "Blood", "Hematology", "%", 33.0, -2.0, 3.0),
    51301: ("White Blood Cells", "Blood", "Hematology", "K/uL", 10.0, 3.0, 2.0),
    51265: ("Platelet Count", "Blood", "Hematology", "K/uL", 210.0, -40.0, 40.0),
    50912: ("Creatinine", "Blood", "Chemistry", "mg/dL", 1.3, 0.6, 0.2),
    51006: ("Urea Nitrogen", "Blood", "Chemistry", "mg/dL", 25.0, 10.0, 5.0),
    50983: ("Sodium", "Blood", "Chemistry", "mEq/L", 139.0, 0.5, 3.0),
    50971: ("Potassium", "Blood", "Chemistry", "mEq/L", 4.2, 0.2, 0.4),
    50902: ("Chloride", "Blood", "Chemistry", "mEq/L", 104.0, 0.0, 3.0),
    50882: ("Bicarbonate", "Blood", "Chemistry", "mEq/L", 24.0, -2.5, 2.0),
    50931: ("Glucose", "Blood", "Chemistry", "mg/dL", 140.0, 15.0, 25.0),
    50861: ("Alanine Aminotransferase (ALT)", "Blood", "Chemistry", "IU/L", 40.0, 20.0, 10.0),
    50878: ("Asparate Aminotransferase (AST)", "Blood", "Chemistry", "IU/L", 45.0, 25.0, 10.0),
    50885: ("Bilirubin, Total", "Blood", "Chemistry", "mg/dL", 1.0, 0.6, 0.3),
    50862: ("Albumin", "Blood", "Chemistry", "g/dL", 3.3, -0.4, 0.3),
    51237: ("INR(PT)", "Blood", "Hematology", "", 1.3, 0.3, 0.1),
    51275: ("PTT", "Blood", "Hematology", "sec", 33.0, 5.0, 4.0),
    51003: ("Troponin T", "Blood", "Chemistry", "ng/mL", 0.05, 0.08, 0.03),
    50889: ("C-Reactive Protein", "Blood", "Chemistry", "mg/L", 60.0, 30.0, 15.0),
    51498: ("Specific Gravity", "Urine", "Hematology", " ", 1.017, 0.002, 0.004),
    51492: ("Protein", "Urine", "Hematology", "mg/dL", 40.0, 20.0, 15.0),
}
# itemid: (label, category, unit, mean, change per unit of severity, spread, every n hours)
CHARTS: dict[int, tuple[str, str, str, float, float, float, float]] = {
    220045: ("Heart Rate", "Routine Vital Signs", "bpm", 84.0, 10.0, 6.0, 2),
    220179: ("Non Invasive Blood Pressure systolic", "Routine Vital Signs", "mmHg", 122, -9, 9, 2),
    220180: ("Non Invasive Blood Pressure diastolic", "Routine Vital Signs", "mmHg", 66, -5, 6, 2),
    220181: ("Non Invasive Blood Pressure mean", "Routine Vital Signs", "mmHg", 82, -7, 6, 2),
    220052: ("Arterial Blood Pressure mean", "Routine Vital Signs", "mmHg", 80, -7, 6, 5),
    220210: ("Respiratory Rate", "Respiratory", "insp/min", 19.0, 3.0, 2.0, 2),
    220277: ("O2 saturation pulseoxymetry", "Respiratory", "%", 97.0, -1.5, 1.0, 2),
    223761: ("Temperature Fahrenheit", "Routine Vital Signs", "°F", 98.6, 0.4, 0.5, 6),
    223762: ("Temperature Celsius", "Routine Vital Signs", "°C", 37.0, 0.2, 0.3, 12),
    220739: ("GCS - Eye Opening", "Neurological", "", 3.4, -0.7, 0.3, 6),
    223900: ("GCS - Verbal Response", "Neurological", "", 4.0, -1.0, 0.4, 6),
    223901: ("GCS - Motor Response", "Neurological", "", 5.4, -0.8, 0.3, 6),
    228096: ("Richmond-RAS Scale", "Pain/Sedation", "", -0.6, -0.8, 0.6, 8),
    223835: ("Inspired O2 Fraction", "Respiratory", "", 42.0, 8.0, 5.0, 8),
    220339: ("PEEP set", "Respiratory", "cmH2O", 6.0, 1.5, 1.0, 8),
    224685: ("Tidal Volume (observed)", "Respiratory", "mL", 470.0, -20.0, 40.0, 8),
}
WORDS = {
    220739: ("None", "To Pain", "To Speech", "Spontaneously"),
    223900: (
        "No Response-ETT",
        "Incomprehensible sounds",
        "Inappropriate Words",
        "Confused",
        "Oriented",
    ),
    223901: (
        "No response",
        "Abnormal extension",
        "Abnormal Flexion",
        "Flex-withdraws",
        "Localizes Pain",
        "Obeys Commands",
    ),
}
"""The words in `value` of a score; `valuenum` holds its number, from 1 on."""
OTHER_ITEMS = {
    226732: ("O2 Delivery Device(s)", "chartevents", "Respiratory", "None", "Text"),
    226512: ("Admission Weight (Kg)", "chartevents", "General", "kg", "Numeric"),
    226531: ("Admission Weight (lbs.)", "chartevents", "General", "None", "Numeric"),
    221906: ("Norepinephrine", "inputevents", "Medications", "mg", "Solution"),
    225158: ("NaCl 0.9%", "inputevents", "Fluids/Intake", "mL", "Solution"),
    226559: ("Foley", "outputevents", "Output", "mL", "Numeric"),
    225792: ("Invasive Ventilation", "procedureevents", "2-Ventilation", "None", "Process"),
    225343: ("Insertion Date", "datetimeevents", "Access Lines", "None", "Date time"),
    220490: ("Water", "ingredientevents", "Ingredients", "mL", "Ingredient"),
}
DIAGNOSES = (
    ("I10", 10), ("4019", 9), ("E119", 10), ("25000", 9), ("I5023", 10), ("4280", 9),
    ("N179", 10), ("5849", 9), ("J189", 10), ("486", 9), ("A419", 10), ("0389", 9),
    ("I4891", 10), ("42731", 9), ("I2510", 10), ("41401", 9), ("J449", 10), ("496", 9),
    ("E785", 10), ("2724", 9), ("J9601", 10), ("51881", 9), ("R6521", 10), ("78552", 9),
    ("I639", 10), ("43491", 9), ("I214", 10), ("41071", 9), ("K922", 10), ("5789", 9),
)  # fmt: skip
CHEXPERT = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum",
    "Fracture", "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other",
    "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
